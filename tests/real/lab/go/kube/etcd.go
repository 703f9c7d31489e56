package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

const (
	storeReady = 30 * time.Second
	// A lab makes and drops thousands of objects, each a few KiB, in its hours of life; etcd's own default.
	storeBytes = 2 << 30
)

// etcd runs a one-member store on the loopback, without fsync: what a lab holds may be lost.
func etcd(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: kube etcd FOLDER")
	}
	config := embed.NewConfig()
	config.Dir = args[0]
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	config.QuotaBackendBytes = storeBytes
	config.AutoCompactionMode, config.AutoCompactionRetention = "periodic", "10m"
	config.TickMs, config.ElectionMs = 50, 250 // alone, so elected as soon as the first timer ends
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case <-time.After(storeReady):
		return errors.New("not ready in " + storeReady.String())
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	}
}
