package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const clearTimeout = 20 * time.Second

// clearPods kills and forgets every pod that containerd knows, so that its store holds images alone and the next
// cluster starts with them. The kubelet must have stopped: it would make the pods anew.
func clearPods(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: kube clear-pods unix:///SOCKET")
	}
	connection, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clearTimeout)
	defer cancel()
	runtime := cri.NewRuntimeServiceClient(connection)
	pods, err := runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	failed := make([]error, len(pods.Items))
	for i, pod := range pods.Items {
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.Id}); err != nil {
				failed[i] = err
				return
			}
			_, failed[i] = runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.Id})
		}()
	}
	group.Wait()
	return errors.Join(failed...)
}
