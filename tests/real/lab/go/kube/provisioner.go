package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

// The classes of these provisioners are served. Longhorn's is a stand-in: such a class may name, by the parameter that
// Longhorn reads too, a backing image, which then must lie as a raw file of that name in the folder of backing images.
var drivers = []string{"lab.local/disk", "driver.longhorn.io"}

const (
	backingImage = "backingImage"
	chosenBy     = "volume.kubernetes.io/storage-provisioner"
	chosenNode   = "volume.kubernetes.io/selected-node"
	madeBy       = "pv.kubernetes.io/provisioned-by"
	retryAfter   = 500 * time.Millisecond
)

type provision struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	found   corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	events  record.EventRecorder
	volumes volumes
	backing string
	node    string
	first   string
}

// provisioner makes a local PersistentVolume for each claim of our classes and drops it once it is released. It runs on
// each node and serves the claims for that node; FIRST is the node of claims that wait for no pod.
func provisioner(args []string) error {
	if len(args) != 5 {
		return errors.New("usage: kube provisioner KUBECONFIG VOLUMES BACKING-IMAGES NODE FIRST")
	}
	config, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx := context.Background()
	wake := make(chan struct{}, 1)
	nudge := func(any) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	on := cache.ResourceEventHandlerFuncs{AddFunc: nudge, UpdateFunc: func(_, new any) { nudge(new) }, DeleteFunc: nudge}
	factory := informers.NewSharedInformerFactory(client, 0)
	claims, found := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), found.Informer(), classes.Informer()} {
		if _, err := informer.AddEventHandler(on); err != nil {
			return err
		}
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: client.CoreV1().Events("")})
	p := provision{
		client: client, claims: claims.Lister(), found: found.Lister(), classes: classes.Lister(),
		events:  broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: drivers[0]}),
		volumes: volumes(args[1]), backing: args[2], node: args[3], first: args[4],
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		var again <-chan time.Time
		if err := errors.Join(p.provideAll(ctx), p.dropReleased(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			again = time.After(retryAfter)
		}
		select {
		case <-wake:
		case <-again:
		}
	}
}

func (p *provision) provideAll(ctx context.Context) error {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed []error
	for _, claim := range claims {
		if !wanted(claim) {
			continue
		}
		class, err := p.classes.Get(*claim.Spec.StorageClassName)
		if err == nil {
			err = p.provide(ctx, claim, class)
		}
		if err != nil {
			p.events.Event(claim, core.EventTypeWarning, "ProvisioningFailed", err.Error())
			failed = append(failed, fmt.Errorf("%s/%s: %w", claim.Namespace, claim.Name, err))
		}
	}
	return errors.Join(failed...)
}

func wanted(claim *core.PersistentVolumeClaim) bool {
	return claim.Status.Phase == core.ClaimPending && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil &&
		claim.Spec.StorageClassName != nil && slices.Contains(drivers, claim.Annotations[chosenBy]) && !populated(claim)
}

// populated says whether a volume populator, such as CDI's, fills the claim: it fills a claim of its own and moves that
// volume here. So an empty volume must not be bound to it. Kubernetes' external-provisioner skips such a claim, too.
func populated(claim *core.PersistentVolumeClaim) bool {
	source := claim.Spec.DataSourceRef
	return source != nil && source.APIGroup != nil && *source.APIGroup != ""
}

func (p *provision) provide(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	node := p.first
	if class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer {
		node = claim.Annotations[chosenNode]
	}
	if node != p.node {
		return nil
	}
	name, mode := "pvc-"+string(claim.UID), core.PersistentVolumeFilesystem
	if _, err := p.found.Get(name); err == nil {
		return nil // made, and not bound yet
	}
	if claim.Spec.VolumeMode != nil {
		mode = *claim.Spec.VolumeMode
	}
	from := ""
	if image := class.Parameters[backingImage]; image != "" {
		from = filepath.Join(p.backing, filepath.Base(image))
	}
	size := claim.Spec.Resources.Requests[core.ResourceStorage]
	path, err := p.volumes.create(name, size.Value(), mode == core.PersistentVolumeBlock, from)
	if err != nil {
		return err
	}
	reclaim := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{madeBy: class.Provisioner},
			Labels:      map[string]string{core.LabelHostname: p.node},
		},
		Spec: core.PersistentVolumeSpec{
			StorageClassName: class.Name, AccessModes: claim.Spec.AccessModes, VolumeMode: &mode,
			Capacity:                      core.ResourceList{core.ResourceStorage: size},
			PersistentVolumeReclaimPolicy: reclaim,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name,
				UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity:           &core.VolumeNodeAffinity{Required: only(p.node)},
		},
	}, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	p.events.Eventf(claim, core.EventTypeNormal, "ProvisioningSucceeded", "Successfully provisioned volume %s", name)
	return nil
}

func only(node string) *core.NodeSelector {
	return &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
		MatchExpressions: []core.NodeSelectorRequirement{
			{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node}},
		},
	}}}
}

func (p *provision) dropReleased(ctx context.Context) error {
	found, err := p.found.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed []error
	for _, volume := range found {
		if !slices.Contains(drivers, volume.Annotations[madeBy]) || volume.Labels[core.LabelHostname] != p.node ||
			volume.Status.Phase != core.VolumeReleased ||
			volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
			continue
		}
		err := p.volumes.remove(volume.Name)
		if err == nil {
			err = p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("%s: %w", volume.Name, err))
		}
	}
	return errors.Join(failed...)
}
