// What Kubernetes itself says to objects of built-in kinds: its defaults, its validation when one is made, and when one
// is changed. Each line of the input is {"new": OBJECT} or {"old": OBJECT, "new": OBJECT}, of the output a list of
// faults. Built by server.py inside the source of Kubernetes that Debian has whole (1.20); what came later, it ignores.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
)

type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

func strategies() map[string]strategy {
	services, _ := service.StrategyForServiceCIDRs(net.IPNet{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}, false)
	return map[string]strategy{
		"ClusterRole":             clusterrole.Strategy,
		"ClusterRoleBinding":      clusterrolebinding.Strategy,
		"ConfigMap":               configmap.Strategy,
		"CronJob":                 cronjob.Strategy,
		"DaemonSet":               daemonset.Strategy,
		"Deployment":              deployment.Strategy,
		"HorizontalPodAutoscaler": horizontalpodautoscaler.Strategy,
		"Job":                     job.Strategy,
		"LimitRange":              limitrange.Strategy,
		"Namespace":               namespace.Strategy,
		"NetworkPolicy":           networkpolicy.Strategy,
		"PersistentVolumeClaim":   persistentvolumeclaim.Strategy,
		"Pod":                     pod.Strategy,
		"PodDisruptionBudget":     poddisruptionbudget.Strategy,
		"PodTemplate":             podtemplate.Strategy,
		"ResourceQuota":           resourcequota.Strategy,
		"Role":                    role.Strategy,
		"RoleBinding":             rolebinding.Strategy,
		"Secret":                  secret.Strategy,
		"Service":                 services,
		"ServiceAccount":          serviceaccount.Strategy,
		"StatefulSet":             statefulset.Strategy,
	}
}

func main() {
	known := strategies()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		faults := []string{}
		if err := judge(known, lines.Bytes()); err != nil {
			faults = append(faults, err.Error())
		}
		if err := answers.Encode(faults); err != nil {
			panic(err)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}

func judge(known map[string]strategy, line []byte) error {
	var question struct{ Old, New json.RawMessage }
	if err := json.Unmarshal(line, &question); err != nil {
		return err
	}
	object, kind, err := internal(question.New)
	if err != nil {
		return err
	}
	how, ok := known[kind.Kind]
	if !ok {
		return fmt.Errorf("no rules for %s", kind)
	}
	now, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	ctx := request.WithNamespace(context.Background(), now.GetNamespace())
	if question.Old == nil {
		return rest.BeforeCreate(how, ctx, object)
	}
	old, _, err := internal(question.Old)
	if err != nil {
		return err
	}
	if err := rest.BeforeCreate(how, ctx, old); err != nil {
		return err
	}
	before, err := meta.Accessor(old)
	if err != nil {
		return err
	}
	before.SetResourceVersion("1")
	now.SetResourceVersion("1")
	return rest.BeforeUpdate(how, ctx, object, old)
}

// internal is the object with Kubernetes' defaults, in the form that it validates.
func internal(raw []byte) (runtime.Object, schema.GroupVersionKind, error) {
	var about struct{ APIVersion, Kind string }
	if err := json.Unmarshal(raw, &about); err != nil {
		return nil, schema.GroupVersionKind{}, err
	}
	kind := schema.FromAPIVersionAndKind(about.APIVersion, about.Kind)
	object, err := legacyscheme.Scheme.New(kind)
	if err != nil {
		return nil, kind, err
	}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, kind, err
	}
	legacyscheme.Scheme.Default(object)
	version := schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal}
	converted, err := legacyscheme.Scheme.ConvertToVersion(object, version)
	return converted, kind, err
}
