// Kubernetes' own API server for custom resources, and before it the generic one with built-in kinds: everybody may do
// everything, nothing is admitted or denied but by types and definitions; etcd behind it. Built by server.py from the
// libraries that Debian packages.
package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/spf13/pflag"
	noop "go.opentelemetry.io/otel/trace/noop"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/common"

	"pathcast/apiserver/types"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	o := options.NewCustomResourceDefinitionsServerOptions(os.Stdout, os.Stderr)
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	o.AddFlags(flags)
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	r := o.RecommendedOptions
	r.Authentication.RemoteKubeConfigFileOptional = true
	r.Authorization.RemoteKubeConfigFileOptional = true
	r.CoreAPI, r.Admission = nil, nil
	r.Features.EnablePriorityAndFairness = false
	if err := o.ServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	if err := o.Complete(); err != nil {
		return err
	}
	if err := r.SecureServing.MaybeDefaultWithSelfSignedCerts("localhost", nil, []net.IP{net.ParseIP("127.0.0.1")}); err != nil {
		return err
	}
	config := genericapiserver.NewRecommendedConfig(apiserver.Codecs)
	if err := o.ServerRunOptions.ApplyTo(&config.Config); err != nil {
		return err
	}
	if err := r.ApplyTo(config); err != nil {
		return err
	}
	config.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	if err := o.APIEnablement.ApplyTo(&config.Config, apiserver.DefaultAPIResourceConfigSource(), apiserver.Scheme); err != nil {
		return err
	}
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(
		openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(definitions),
		openapinamer.NewDefinitionNamer(apiserver.Scheme, scheme.Scheme))
	// One list of groups for both servers, which the front one answers with.
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	client, err := kubernetes.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return err
	}
	config.SharedInformerFactory = informers.NewSharedInformerFactory(client, 0)
	front := config.Config
	front.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	resolver := webhook.NewDefaultServiceResolver()
	behind, err := (&apiserver.Config{
		GenericConfig: config,
		ExtraConfig: apiserver.ExtraConfig{
			CRDRESTOptionsGetter: options.NewCRDRESTOptionsGetter(*r.Etcd, config.ResourceTransformers, config.StorageObjectCountTracker),
			ServiceResolver:      resolver,
			AuthResolverWrapper:  webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, config.LoopbackClientConfig, noop.NewTracerProvider()),
		},
	}).Complete().New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return err
	}
	known, err := builtInScheme()
	if err != nil {
		return err
	}
	front.Serializer = serializer.NewCodecFactory(known)
	server, err := front.Complete(config.SharedInformerFactory).New("built-in", behind.GenericAPIServer)
	if err != nil {
		return err
	}
	if err := installBuiltIn(server, known, *r.Etcd, &front); err != nil {
		return err
	}
	return server.PrepareRun().RunWithContext(context.Background())
}

// definitions are those of custom resource definitions and what all objects have, and the generated ones.
func definitions(reference common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := generatedopenapi.GetOpenAPIDefinitions(reference)
	for name, definition := range types.GetOpenAPIDefinitions(reference) {
		all[name] = definition
	}
	return all
}
