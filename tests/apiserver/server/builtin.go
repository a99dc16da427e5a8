// Kubernetes' built-in kinds, as many as this project uses, on the generic API server: strict decoding, generations and
// status as in Kubernetes, and the rules of what an update may not change. What Kubernetes itself looks at beyond the
// types (names of ports, ranges, references within an object) is not in a library and so not here.
package main

import (
	"context"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/names"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

type resource struct {
	version        schema.GroupVersion
	name, singular string
	clusterWide    bool
	object, list   runtime.Object
}

var resources = []resource{
	{corev1.SchemeGroupVersion, "configmaps", "configmap", false, &corev1.ConfigMap{}, &corev1.ConfigMapList{}},
	{corev1.SchemeGroupVersion, "events", "event", false, &corev1.Event{}, &corev1.EventList{}},
	{corev1.SchemeGroupVersion, "limitranges", "limitrange", false, &corev1.LimitRange{}, &corev1.LimitRangeList{}},
	{corev1.SchemeGroupVersion, "namespaces", "namespace", true, &corev1.Namespace{}, &corev1.NamespaceList{}},
	{corev1.SchemeGroupVersion, "persistentvolumeclaims", "persistentvolumeclaim", false,
		&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaimList{}},
	{corev1.SchemeGroupVersion, "pods", "pod", false, &corev1.Pod{}, &corev1.PodList{}},
	{corev1.SchemeGroupVersion, "resourcequotas", "resourcequota", false, &corev1.ResourceQuota{}, &corev1.ResourceQuotaList{}},
	{corev1.SchemeGroupVersion, "secrets", "secret", false, &corev1.Secret{}, &corev1.SecretList{}},
	{corev1.SchemeGroupVersion, "serviceaccounts", "serviceaccount", false, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}},
	{corev1.SchemeGroupVersion, "services", "service", false, &corev1.Service{}, &corev1.ServiceList{}},
	{appsv1.SchemeGroupVersion, "daemonsets", "daemonset", false, &appsv1.DaemonSet{}, &appsv1.DaemonSetList{}},
	{appsv1.SchemeGroupVersion, "deployments", "deployment", false, &appsv1.Deployment{}, &appsv1.DeploymentList{}},
	{appsv1.SchemeGroupVersion, "replicasets", "replicaset", false, &appsv1.ReplicaSet{}, &appsv1.ReplicaSetList{}},
	{appsv1.SchemeGroupVersion, "statefulsets", "statefulset", false, &appsv1.StatefulSet{}, &appsv1.StatefulSetList{}},
	{autoscalingv2.SchemeGroupVersion, "horizontalpodautoscalers", "horizontalpodautoscaler", false,
		&autoscalingv2.HorizontalPodAutoscaler{}, &autoscalingv2.HorizontalPodAutoscalerList{}},
	{batchv1.SchemeGroupVersion, "cronjobs", "cronjob", false, &batchv1.CronJob{}, &batchv1.CronJobList{}},
	{batchv1.SchemeGroupVersion, "jobs", "job", false, &batchv1.Job{}, &batchv1.JobList{}},
	{networkingv1.SchemeGroupVersion, "ingresses", "ingress", false, &networkingv1.Ingress{}, &networkingv1.IngressList{}},
	{networkingv1.SchemeGroupVersion, "networkpolicies", "networkpolicy", false,
		&networkingv1.NetworkPolicy{}, &networkingv1.NetworkPolicyList{}},
	{policyv1.SchemeGroupVersion, "poddisruptionbudgets", "poddisruptionbudget", false,
		&policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}},
	{rbacv1.SchemeGroupVersion, "clusterrolebindings", "clusterrolebinding", true,
		&rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}},
	{rbacv1.SchemeGroupVersion, "clusterroles", "clusterrole", true, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}},
	{rbacv1.SchemeGroupVersion, "rolebindings", "rolebinding", false, &rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}},
	{rbacv1.SchemeGroupVersion, "roles", "role", false, &rbacv1.Role{}, &rbacv1.RoleList{}},
	{schedulingv1.SchemeGroupVersion, "priorityclasses", "priorityclass", true,
		&schedulingv1.PriorityClass{}, &schedulingv1.PriorityClassList{}},
	{storagev1.SchemeGroupVersion, "storageclasses", "storageclass", true, &storagev1.StorageClass{}, &storagev1.StorageClassList{}},
}

// builtInScheme knows each type as its version and as the internal one, so that none is ever converted.
func builtInScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := clientscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, r := range resources {
		internal := schema.GroupVersion{Group: r.version.Group, Version: runtime.APIVersionInternal}
		scheme.AddKnownTypes(internal, r.object, r.list)
	}
	return scheme, nil
}

// installBuiltIn serves all resources from etcd.
func installBuiltIn(server *genericapiserver.GenericAPIServer, scheme *runtime.Scheme, etcd genericoptions.EtcdOptions, config *genericapiserver.Config) error {
	codecs := serializer.NewCodecFactory(scheme)
	groups := map[schema.GroupVersion]map[string]rest.Storage{}
	var versions []schema.GroupVersion
	for _, r := range resources {
		if groups[r.version] == nil {
			groups[r.version] = map[string]rest.Storage{}
			versions = append(versions, r.version)
		}
	}
	etcd.StorageConfig.Codec = codecs.LegacyCodec(versions...)
	etcd.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	storage := &genericoptions.SimpleStorageFactory{StorageConfig: etcd.StorageConfig}
	getter := etcd.CreateRESTOptionsGetter(storage, config.ResourceTransformers)
	for _, r := range resources {
		store, err := r.store(scheme, getter)
		if err != nil {
			return err
		}
		groups[r.version][r.name] = store
		if part(r.object, "Status").IsValid() {
			status := *store
			status.UpdateStrategy = statusStrategy{store.UpdateStrategy.(strategy)}
			groups[r.version][r.name+"/status"] = &statusREST{&status}
		}
	}
	for _, version := range versions {
		info := genericapiserver.NewDefaultAPIGroupInfo(version.Group, scheme, runtime.NewParameterCodec(scheme), codecs)
		info.PrioritizedVersions = []schema.GroupVersion{version}
		info.VersionedResourcesStorageMap[version.Version] = groups[version]
		install := server.InstallAPIGroup
		if version.Group == "" {
			install = func(info *genericapiserver.APIGroupInfo) error { return server.InstallLegacyAPIGroup("/api", info) }
		}
		if err := install(&info); err != nil {
			return err
		}
	}
	return nil
}

func (r resource) store(scheme *runtime.Scheme, getter generic.RESTOptionsGetter) (*registry.Store, error) {
	group := schema.GroupResource{Group: r.version.Group, Resource: r.name}
	how := strategy{ObjectTyper: scheme, NameGenerator: names.SimpleNameGenerator, namespaced: !r.clusterWide}
	fresh := func(like runtime.Object) func() runtime.Object {
		return func() runtime.Object { return reflect.New(reflect.TypeOf(like).Elem()).Interface().(runtime.Object) }
	}
	store := &registry.Store{
		NewFunc:                   fresh(r.object),
		NewListFunc:               fresh(r.list),
		DefaultQualifiedResource:  group,
		SingularQualifiedResource: schema.GroupResource{Group: r.version.Group, Resource: r.singular},
		CreateStrategy:            how,
		UpdateStrategy:            how,
		DeleteStrategy:            how,
		TableConvertor:            rest.NewDefaultTableConvertor(group),
	}
	return store, store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: getter})
}

// statusREST lets a status be read and changed, and no object be made through it.
type statusREST struct{ store *registry.Store }

func (s *statusREST) New() runtime.Object { return s.store.New() }
func (s *statusREST) Destroy()            {}
func (s *statusREST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}
func (s *statusREST) Update(ctx context.Context, name string, object rest.UpdatedObjectInfo, onCreate rest.ValidateObjectFunc, onUpdate rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, object, onCreate, onUpdate, false, options)
}

type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s strategy) NamespaceScoped() bool                                            { return s.namespaced }
func (s strategy) AllowCreateOnUpdate() bool                                        { return false }
func (s strategy) AllowUnconditionalUpdate() bool                                   { return true }
func (s strategy) Canonicalize(runtime.Object)                                      {}
func (s strategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (s strategy) WarningsOnUpdate(_ context.Context, _, _ runtime.Object) []string { return nil }

func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	if status := part(object, "Status"); status.IsValid() {
		status.SetZero()
	}
	if part(object, "Spec").IsValid() {
		object.(metav1.Object).SetGeneration(1)
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	if status := part(object, "Status"); status.IsValid() {
		status.Set(part(old, "Status"))
	}
	spec := part(object, "Spec")
	if spec.IsValid() && !equality.Semantic.DeepEqual(spec.Interface(), part(old, "Spec").Interface()) {
		object.(metav1.Object).SetGeneration(old.(metav1.Object).GetGeneration() + 1)
	}
}

func (s strategy) Validate(_ context.Context, object runtime.Object) field.ErrorList {
	spec := part(object, "Spec")
	if !spec.IsValid() || !spec.FieldByName("Template").IsValid() || !spec.FieldByName("Selector").IsValid() {
		return nil
	}
	selector, ok := spec.FieldByName("Selector").Interface().(*metav1.LabelSelector)
	if !ok || selector == nil {
		return nil
	}
	path := field.NewPath("spec", "template", "metadata", "labels")
	taken, err := metav1.LabelSelectorAsSelector(selector)
	own := spec.FieldByName("Template").Interface().(corev1.PodTemplateSpec).Labels
	if err != nil || taken.Empty() || !taken.Matches(labels.Set(own)) {
		return field.ErrorList{field.Invalid(path, own, "`selector` does not match template `labels`")}
	}
	return nil
}

// ValidateUpdate refuses what Kubernetes says cannot change.
func (s strategy) ValidateUpdate(ctx context.Context, object, old runtime.Object) field.ErrorList {
	found := s.Validate(ctx, object)
	same := func(path string, now, before any) {
		if !equality.Semantic.DeepEqual(now, before) {
			found = append(found, field.Invalid(field.NewPath(path), "", "field is immutable"))
		}
	}
	switch now := object.(type) {
	case *appsv1.Deployment:
		same("spec.selector", now.Spec.Selector, old.(*appsv1.Deployment).Spec.Selector)
	case *appsv1.DaemonSet:
		same("spec.selector", now.Spec.Selector, old.(*appsv1.DaemonSet).Spec.Selector)
	case *appsv1.StatefulSet:
		fixed := now.Spec.DeepCopy()
		before := &old.(*appsv1.StatefulSet).Spec
		fixed.Replicas, fixed.Template, fixed.UpdateStrategy = before.Replicas, before.Template, before.UpdateStrategy
		fixed.MinReadySeconds, fixed.Ordinals = before.MinReadySeconds, before.Ordinals
		fixed.PersistentVolumeClaimRetentionPolicy = before.PersistentVolumeClaimRetentionPolicy
		fixed.RevisionHistoryLimit = before.RevisionHistoryLimit
		same("spec", fixed, before)
	case *batchv1.Job:
		before := old.(*batchv1.Job).Spec
		same("spec.selector", now.Spec.Selector, before.Selector)
		same("spec.template", now.Spec.Template, before.Template)
		same("spec.completionMode", now.Spec.CompletionMode, before.CompletionMode)
	case *corev1.PersistentVolumeClaim:
		fixed := now.Spec.DeepCopy()
		before := old.(*corev1.PersistentVolumeClaim).Spec
		fixed.Resources = before.Resources
		same("spec", *fixed, before)
	case *corev1.Service:
		before := old.(*corev1.Service).Spec
		if before.ClusterIP != "" {
			same("spec.clusterIP", now.Spec.ClusterIP, before.ClusterIP)
		}
	case *corev1.ConfigMap:
		if before := old.(*corev1.ConfigMap); before.Immutable != nil && *before.Immutable {
			same("data", now.Data, before.Data)
		}
	case *corev1.Secret:
		before := old.(*corev1.Secret)
		same("type", now.Type, before.Type)
		if before.Immutable != nil && *before.Immutable {
			same("data", now.Data, before.Data)
		}
	case *rbacv1.RoleBinding:
		same("roleRef", now.RoleRef, old.(*rbacv1.RoleBinding).RoleRef)
	case *rbacv1.ClusterRoleBinding:
		same("roleRef", now.RoleRef, old.(*rbacv1.ClusterRoleBinding).RoleRef)
	}
	return found
}

// statusStrategy takes the status alone from an update.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	if spec := part(object, "Spec"); spec.IsValid() {
		spec.Set(part(old, "Spec"))
	}
}

func part(object runtime.Object, name string) reflect.Value {
	return reflect.ValueOf(object).Elem().FieldByName(name)
}
