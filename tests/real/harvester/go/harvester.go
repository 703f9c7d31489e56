package main

import (
	"context"

	"github.com/harvester/harvester/pkg/config"
	"github.com/harvester/harvester/pkg/controller/master/image"
	"github.com/harvester/harvester/pkg/controller/master/pvc"
	"github.com/harvester/harvester/pkg/controller/master/virtualmachine"
	"github.com/harvester/harvester/pkg/indexeres"
	"github.com/harvester/harvester/pkg/server"
	webhookconfig "github.com/harvester/harvester/pkg/webhook/config"
	webhookserver "github.com/harvester/harvester/pkg/webhook/server"
	"github.com/rancher/lasso/pkg/controller"
	"github.com/rancher/wrangler/v3/pkg/generic"
)

func webhook(ctx context.Context, options *given) error {
	cluster, err := options.config()
	if err != nil {
		return err
	}
	started := webhookserver.New(ctx, cluster, &webhookconfig.Options{
		Threadiness:                 threads,
		HTTPSListenPort:             options.port,
		Namespace:                   namespace,
		HarvesterControllerUsername: account,
		GarbageCollectionUsername:   "system:serviceaccount:kube-system:generic-garbage-collector",
	})
	if err := started.ListenAndServe(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func controllers(ctx context.Context, options *given) error {
	cluster, err := options.config()
	if err != nil {
		return err
	}
	factory, err := controller.NewSharedControllerFactoryFromConfig(cluster, server.Scheme)
	if err != nil {
		return err
	}
	ctx, scaled, err := config.SetupScaled(ctx, cluster, &generic.FactoryOptions{SharedControllerFactory: factory})
	if err != nil {
		return err
	}
	settings := config.Options{Namespace: namespace, Threadiness: threads}
	// The controllers look things up by these.
	if err := indexeres.Setup(ctx, nil, nil, settings); err != nil {
		return err
	}
	type register func(context.Context, *config.Management, config.Options) error
	for _, one := range []register{image.Register, virtualmachine.Register, pvc.Register} {
		if err := one(ctx, scaled.Management, settings); err != nil {
			return err
		}
	}
	if err := scaled.Management.Start(threads); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func wholeServer(ctx context.Context, options *given) error {
	found, err := server.GetConfig(options.kubeconfig)
	if err != nil {
		return err
	}
	settings := config.Options{
		Namespace:       namespace,
		Threadiness:     threads,
		HTTPListenPort:  options.plainPort,
		HTTPSListenPort: options.port,
		HCIMode:         true,
	}
	started, err := server.New(ctx, found, settings)
	if err != nil {
		return err
	}
	return started.ListenAndServe(nil, settings)
}
