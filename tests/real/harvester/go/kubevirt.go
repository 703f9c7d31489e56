package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/client-go/tools/cache"
	"kubevirt.io/client-go/kubecli"
	kubevirtinformers "kubevirt.io/kubevirt/pkg/controller"
	"kubevirt.io/kubevirt/pkg/virt-api/webhooks"
	mutating "kubevirt.io/kubevirt/pkg/virt-api/webhooks/mutating-webhook"
	validating "kubevirt.io/kubevirt/pkg/virt-api/webhooks/validating-webhook"
	virtconfig "kubevirt.io/kubevirt/pkg/virt-config"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
)

// kubevirt answers AdmissionReviews of VirtualMachines as virt-api does, at its own paths. What KubeVirt is set to
// it reads from the cluster's KubeVirt object.
func kubevirt(ctx context.Context, options *given) error {
	cluster, err := options.config()
	if err != nil {
		return err
	}
	client, err := kubecli.GetKubevirtClientFromRESTConfig(cluster)
	if err != nil {
		return err
	}
	factory := kubevirtinformers.NewKubeInformerFactory(client.RestClient(), client, nil, namespace)
	definitions, settings := factory.CRD(), factory.KubeVirt()
	known, err := virtconfig.NewClusterConfig(definitions, settings, namespace)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), definitions.HasSynced, settings.HasSynced) {
		return errors.New("the API server does not list KubeVirt objects")
	}
	accounts := webhooks.KubeVirtServiceAccounts(namespace)
	paths := http.NewServeMux()
	paths.HandleFunc(components.VMMutatePath, func(answer http.ResponseWriter, request *http.Request) {
		mutating.ServeVMs(answer, request, known, client)
	})
	paths.HandleFunc(components.VMValidatePath, func(answer http.ResponseWriter, request *http.Request) {
		// The informers serve data volume templates and restores, which no VirtualMachine of ours has.
		validating.ServeVMs(answer, request, known, client, &webhooks.Informers{}, accounts)
	})
	listener := &http.Server{
		Addr:              fmt.Sprintf("%s:%d", options.address, options.port),
		Handler:           paths,
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	if err := listener.ListenAndServeTLS(options.certificate, options.key); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
