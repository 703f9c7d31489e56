// Command vcenter is a stand-in for vCenter and for a stand-alone ESXi host, for tests.
// README.md documents its inventory and its control API.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

// exitUsage is the exit code for a wrong command line or inventory.
const exitUsage = 2

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(os.Stderr, "vcenter:", err)
		os.Exit(exitUsage)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// usageError is a mistake of the user who started the program.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// ready is the line printed on stdout once the server answers.
type ready struct {
	URL              string `json:"url"`
	CA               string `json:"ca"`
	Thumbprint       string `json:"thumbprint"`
	ThumbprintSHA256 string `json:"thumbprintSHA256"`
	Control          string `json:"control"`
	PID              int    `json:"pid"`
}

// run starts the server, announces it on stdout and serves until ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	options := flag.NewFlagSet("vcenter", flag.ContinueOnError)
	file := options.String("inventory", "", "inventory `file` (JSON, see README.md)")
	state := options.String("state", "", "`directory` for certificates, datastores and cached VMDKs")
	listen := options.String("listen", "127.0.0.1:0", "`address` of the vSphere API")
	control := options.String("control", "127.0.0.1:0", "`address` of the control API")
	advertise := options.String("advertise", "", "`host` in the announced URL and the disk URLs (default: that of --listen)")
	withStdin := options.Bool("exit-with-stdin", false, "end when standard input is closed")
	if err := options.Parse(args); err != nil {
		return &usageError{err}
	}
	if *file == "" || *state == "" || options.NArg() > 0 {
		return usagef("--inventory and --state are needed, and nothing else")
	}
	inventory, err := loadInventory(*file)
	if err != nil {
		return &usageError{err}
	}
	if *withStdin {
		ctx = untilClosed(ctx, stdin)
	}
	server, err := Start(Options{
		Inventory: inventory, State: *state, Listen: *listen, Control: *control, Advertise: *advertise,
	})
	if err != nil {
		return err
	}
	defer server.Close()
	if err := json.NewEncoder(stdout).Encode(server.ready()); err != nil {
		return err
	}
	<-ctx.Done()
	log.Print("ending: ", context.Cause(ctx))
	return nil
}

// untilClosed returns a context that ends at the end of r: then the parent process has died.
func untilClosed(parent context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel(errors.New("standard input was closed"))
	}()
	return ctx
}
