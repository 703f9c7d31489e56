package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/simulator/vpx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// Options are the options of the command line.
type Options struct {
	Inventory *Inventory
	State     string
	Listen    string
	Control   string
	Advertise string
}

// VCenter is the running stand-in.
type VCenter struct {
	inventory *Inventory
	state     string
	host      string // host and port that clients use
	caFile    string
	identity  *identity
	disks     endpoint

	service    *simulator.Service
	automation *automation   // nil: the API is off, or this is a stand-alone host
	client     *vim25.Client // in process, needs no login
	images     *imageStore
	faults     *Faults
	gate       *Gate
	record     *Record
	leases     *leases

	mu       sync.Mutex
	machines map[types.ManagedObjectReference]*machine
	lacks    []string // privileges that the account does not have

	api, control                 *http.Server
	apiListener, controlListener net.Listener
	outage                       *outage // the API's listener
}

// endpoint is where disks are served: by the API's own server or by one that acts as the ESXi host.
type endpoint struct {
	host     string
	identity *identity
	listener net.Listener // nil: the API's own
	server   *http.Server
}

// Start builds the inventory and serves it.
func Start(o Options) (*VCenter, error) {
	v := &VCenter{
		inventory: o.Inventory,
		faults:    &Faults{}, gate: newGate(), record: &Record{}, leases: newLeases(),
		machines: map[types.ManagedObjectReference]*machine{},
		lacks:    o.Inventory.Lacks,
	}
	var err error
	if v.state, err = filepath.Abs(o.State); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(v.state, 0o755); err != nil {
		return nil, err
	}
	if v.images, err = newImageStore(filepath.Join(v.state, "vmdk"), o.Inventory.VMDKLayout); err != nil {
		return nil, err
	}
	if err := v.listen(o); err != nil {
		return nil, err
	}
	v.simulate()
	if err := v.populate(context.Background()); err != nil {
		v.Close()
		return nil, err
	}
	v.serve()
	return v, nil
}

// listen opens both ports and makes the certificate for the name that clients will use.
func (v *VCenter) listen(o Options) error {
	var err error
	if v.apiListener, err = net.Listen("tcp", o.Listen); err != nil {
		return err
	}
	v.outage = newOutage(v.apiListener)
	v.apiListener = v.outage
	if v.controlListener, err = net.Listen("tcp", o.Control); err != nil {
		v.apiListener.Close()
		return err
	}
	address := v.apiListener.Addr().(*net.TCPAddr)
	host := o.Advertise
	if host == "" {
		host = address.IP.String()
		if address.IP.IsUnspecified() {
			host = "127.0.0.1"
		}
	}
	v.host = net.JoinHostPort(host, fmt.Sprint(address.Port))
	ca, err := newAuthority()
	if err != nil {
		return err
	}
	v.caFile = filepath.Join(v.state, "ca.pem")
	if err := ca.write(v.caFile); err != nil {
		return err
	}
	if v.identity, err = ca.identify(host); err != nil {
		return err
	}
	return v.listenForDisks(o, host, ca)
}

// listenForDisks opens the port of the ESXi host, if it has its own.
func (v *VCenter) listenForDisks(o Options, host string, ca *authority) error {
	v.disks = endpoint{host: v.host, identity: v.identity}
	if v.inventory.DiskHost == diskHostSame {
		return nil
	}
	address, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return err
	}
	if v.disks.listener, err = net.Listen("tcp", net.JoinHostPort(address, "0")); err != nil {
		return err
	}
	v.disks.host = net.JoinHostPort(host, fmt.Sprint(v.disks.listener.Addr().(*net.TCPAddr).Port))
	if v.inventory.DiskHost == diskHostSelfSigned {
		if ca, err = newAuthority(); err != nil {
			return err
		}
	}
	v.disks.identity, err = ca.identify(host)
	return err
}

// simulate makes an empty vCenter or host of the wanted version.
// simulator.Model would use names of its own and a directory under the system's temporary one.
func (v *VCenter) simulate() {
	content, root := vpx.ServiceContent, vpx.RootFolder
	name := "VMware vCenter Server"
	if v.inventory.esxi() {
		content, root = esx.ServiceContent, esx.RootFolder
		name = "VMware ESXi"
	}
	// pyvmomi uses the API version that it finds here; with the simulator's own, 6.5, it does not know a VirtualTPM.
	content.About.Version = v.inventory.Version
	content.About.ApiVersion = v.inventory.Version + ".0"
	content.About.Name = name
	content.About.FullName = fmt.Sprintf("%s %s build-%s", name, v.inventory.Version, content.About.Build)
	ctx := simulator.NewContext()
	_, instance := simulator.NewServiceInstance(ctx, content, root)
	v.service = simulator.New(ctx, instance)
	v.service.Listen = &url.URL{
		Scheme: "https", Host: v.host, Path: vim25.Path, User: url.UserPassword(v.inventory.Username, v.inventory.Password),
	}
	ctx.Map.OptionManager().UpdateOptions(&types.UpdateOptions{ChangedValue: []types.BaseOptionValue{
		&types.OptionValue{Key: "vcsim.server.url", Value: (&url.URL{Scheme: "https", Host: v.host, Path: vim25.Path}).String()},
	}})
	ctx.Map.SessionManager().ValidLogin = v.validLogin
	ctx.Map.SessionManager().ServiceHostName = v.host
	ctx.Map.Handler = v.redirect
	ctx.Map.Put(newOverrides(v))
	ctx.Map.AddHandler(newWatcher(v))
	v.service.RegisterSDK(ctx.Map, vim25.Path+"/vimService")
}

// serve starts both HTTP servers.
func (v *VCenter) serve() {
	mux := http.NewServeMux()
	mux.HandleFunc(vim25.Path, v.serveSDK)
	mux.HandleFunc(vim25.Path+"/vimService", v.serveSDK)
	mux.HandleFunc(vim25.Path+"/vimServiceVersions.xml", v.service.ServiceVersions)
	if v.automation != nil {
		mux.HandleFunc(restPrefix, v.serveAutomation)
	}
	if v.disks.listener == nil {
		mux.HandleFunc(diskPrefix, v.serveDisk)
	}
	v.api = newServer(v.behindGateway(mux), v.identity)
	v.control = &http.Server{Handler: v.controlAPI(), ReadHeaderTimeout: time.Minute}
	go func() { exitUnlessClosed(v.api.ServeTLS(v.apiListener, "", "")) }()
	go func() { exitUnlessClosed(v.control.Serve(v.controlListener)) }()
	if v.disks.listener != nil {
		disks := http.NewServeMux()
		disks.HandleFunc(diskPrefix, v.serveDisk)
		v.disks.server = newServer(disks, v.disks.identity)
		go func() { exitUnlessClosed(v.disks.server.ServeTLS(v.disks.listener, "", "")) }()
	}
}

// newServer is a server that speaks HTTP/1.1 only, as a host does: chunked bodies, one transfer per connection.
func newServer(handler http.Handler, id *identity) *http.Server {
	return &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{id.certificate}, NextProtos: []string{"http/1.1"}},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: time.Minute,
		ConnContext:       rememberConn,
		ErrorLog:          log.New(log.Writer(), "tls: ", log.Flags()),
	}
}

func exitUnlessClosed(err error) {
	if !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// Close ends everything at once, including open transfers.
func (v *VCenter) Close() {
	if v.api != nil {
		v.api.Close()
		v.control.Close()
	}
	if v.disks.server != nil {
		v.disks.server.Close()
	}
	v.apiListener.Close()
	v.controlListener.Close()
	v.leases.stop()
}

func (v *VCenter) ready() ready {
	return ready{
		URL: "https://" + v.host + vim25.Path, CA: v.caFile,
		Thumbprint: v.identity.thumbprint(), ThumbprintSHA256: v.identity.thumbprintSHA256(),
		Control: "http://" + v.controlListener.Addr().String(), PID: os.Getpid(),
	}
}

// registry is the simulator's object store.
func (v *VCenter) registry() *simulator.Registry { return v.service.Context.Map }

// context is a context for work outside any client's request.
// Locks belong to a context, so every piece of work needs its own.
func (v *VCenter) context() *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: v.registry(), Session: v.service.Context.Session}
}

// machine is our state of a VM beyond what the simulator keeps.
type machine struct {
	spec *VM
	path string // datacenter, folders, name
	site *site
	ref  types.ManagedObjectReference

	mu                              sync.Mutex
	tools                           string
	shutdownSeconds                 float64
	ignoresShutdown                 bool
	lives                           int // changes of power
	booted                          time.Time
	powerOns, powerOffs, shutdownsN int
}

// named reports whether name means this VM: its name, its path or its moid.
func (m *machine) named(name string) bool {
	return name == m.spec.Name || name == m.ref.Value || strings.Trim(name, "/") == m.path
}

func (v *VCenter) machine(ref types.ManagedObjectReference) *machine {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.machines[ref]
}

// allMachines returns the VMs by path.
func (v *VCenter) allMachines() []*machine {
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]*machine, 0, len(v.machines))
	for _, m := range v.machines {
		list = append(list, m)
	}
	sortBy(list, func(m *machine) string { return path.Clean(m.path) + " " + m.ref.Value })
	return list
}

// vm returns the simulator's object of a VM, or nil if it was destroyed.
func (v *VCenter) vm(ref types.ManagedObjectReference) *simulator.VirtualMachine {
	vm, _ := v.registry().Get(ref).(*simulator.VirtualMachine)
	return vm
}
