// harvester runs parts of Harvester and KubeVirt as their own modules have them, against the lab's API server.
//
//	harvester webhook      Harvester's admission server; it writes its own webhook configurations
//	harvester controllers  Harvester's controllers of images, VirtualMachines and claims
//	harvester server       the whole Harvester server, with the API of its UI; it lets everybody in as admin
//	harvester kubevirt     KubeVirt's mutator and validator of VirtualMachines, over HTTPS
//	harvester objects      prints KubeVirt's and CDI's definitions of kinds and Harvester's settings, a JSON document a line
//
// All but objects take --kubeconfig. They end at SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rancher/wrangler/v3/pkg/ratelimit"
	"github.com/rancher/wrangler/v3/pkg/signals"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	namespace = "harvester-system"
	account   = "system:serviceaccount:" + namespace + ":harvester"
	threads   = 5
)

// given are the options; each command takes those that it needs.
type given struct {
	kubeconfig, certificate, key, address string
	port, plainPort                       int
}

func main() {
	commands := map[string]func(context.Context, *given) error{
		"webhook":     webhook,
		"controllers": controllers,
		"server":      wholeServer,
		"kubevirt":    kubevirt,
		"objects":     objects,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "usage: %s webhook|controllers|server|kubevirt|objects [OPTION]...\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
	var options given
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&options.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "it must name its CA by file")
	flags.IntVar(&options.port, "port", 9443, "for HTTPS")
	flags.IntVar(&options.plainPort, "plain-port", 8080, "for HTTP (server)")
	flags.StringVar(&options.address, "address", "127.0.0.1", "to listen at (kubevirt)")
	flags.StringVar(&options.certificate, "certificate", "", "PEM file (kubevirt)")
	flags.StringVar(&options.key, "key", "", "PEM file (kubevirt)")
	_ = flags.Parse(os.Args[2:])
	if err := commands[os.Args[1]](signals.SetupSignalContext(), &options); err != nil && err != context.Canceled {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// config is how Harvester's own main makes it: no limit of requests.
func (options *given) config() (*rest.Config, error) {
	found, err := clientcmd.BuildConfigFromFlags("", options.kubeconfig)
	if err != nil {
		return nil, err
	}
	found.RateLimiter = ratelimit.None
	return found, nil
}
