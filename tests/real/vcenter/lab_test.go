package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// lab is a running stand-in under test.
type lab struct {
	*testing.T
	*VCenter
	state string
}

// newLab starts a stand-in with an inventory in JSON.
func newLab(t *testing.T, inventory string) *lab {
	t.Helper()
	return newLabIn(t, t.TempDir(), inventory)
}

func newLabIn(t *testing.T, dir, inventory string) *lab {
	t.Helper()
	file := filepath.Join(dir, "inventory.json")
	must(t, os.WriteFile(file, []byte(inventory), 0o644))
	inv, err := loadInventory(file)
	must(t, err)
	state := filepath.Join(dir, "state")
	v, err := Start(Options{Inventory: inv, State: state, Listen: "127.0.0.1:0", Control: "127.0.0.1:0"})
	must(t, err)
	t.Cleanup(v.Close)
	return &lab{t, v, state}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits up to 5 s for a condition.
func (l *lab) eventually(what string, condition func() bool) {
	l.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if condition() {
			return
		}
	}
	l.Fatal("never: " + what)
}

// client is a logged-in client.
type client struct {
	*lab
	*govmomi.Client
}

func (l *lab) tryLogin(password string) (*client, error) {
	endpoint, _ := url.Parse(l.ready().URL)
	transport := soap.NewClient(endpoint, false)
	must(l.T, transport.SetRootCAs(l.ready().CA))
	ctx := context.Background()
	vim, err := vim25.NewClient(ctx, transport)
	must(l.T, err)
	c := &govmomi.Client{Client: vim, SessionManager: session.NewManager(vim)}
	return &client{l, c}, c.Login(ctx, url.UserPassword(l.inventory.Username, password))
}

func (l *lab) login() *client {
	l.Helper()
	c, err := l.tryLogin(l.inventory.Password)
	must(l.T, err)
	return c
}

func (c *client) vm(path string) *object.VirtualMachine {
	c.Helper()
	vm, err := find.NewFinder(c.Client.Client).VirtualMachine(context.Background(), path)
	must(c.T, err)
	return vm
}

func (c *client) key() string {
	s, err := c.SessionManager.UserSession(context.Background())
	must(c.T, err)
	return s.Key
}

// export requests a lease.
func (c *client) export(vm *object.VirtualMachine) (types.ManagedObjectReference, error) {
	res, err := methods.ExportVm(context.Background(), c.Client, &types.ExportVm{This: vm.Reference()})
	if err != nil {
		return types.ManagedObjectReference{}, err
	}
	return res.Returnval, nil
}

func (c *client) lease(ref types.ManagedObjectReference) (mo.HttpNfcLease, error) {
	var lease mo.HttpNfcLease
	err := property.DefaultCollector(c.Client.Client).RetrieveOne(context.Background(), ref, nil, &lease)
	return lease, err
}

// exportReady requests a lease and waits until it is ready.
func (c *client) exportReady(vm *object.VirtualMachine) mo.HttpNfcLease {
	c.Helper()
	ref, err := c.export(vm)
	must(c.T, err)
	var lease mo.HttpNfcLease
	c.eventually("lease ready", func() bool {
		lease, err = c.lease(ref)
		must(c.T, err)
		return lease.State != types.HttpNfcLeaseStateInitializing
	})
	if lease.State != types.HttpNfcLeaseStateReady {
		c.Fatalf("lease is %s: %v", lease.State, lease.Error)
	}
	return lease
}

func (c *client) complete(ref types.ManagedObjectReference) error {
	_, err := methods.HttpNfcLeaseComplete(context.Background(), c.Client, &types.HttpNfcLeaseComplete{This: ref})
	return err
}

func (c *client) progress(ref types.ManagedObjectReference, percent int32) error {
	_, err := methods.HttpNfcLeaseProgress(context.Background(), c.Client, &types.HttpNfcLeaseProgress{This: ref, Percent: percent})
	return err
}

// get requests a disk with the client's certificates, and with its cookie if wanted.
func (c *client) get(link string, cookie bool) *http.Response {
	c.Helper()
	h := &http.Client{Transport: c.Client.Client.Client.DefaultTransport()}
	req, err := http.NewRequest(http.MethodGet, link, nil)
	must(c.T, err)
	if cookie {
		req.AddCookie(&http.Cookie{Name: soap.SessionCookieName, Value: c.key()})
	}
	res, err := h.Do(req)
	must(c.T, err)
	c.Cleanup(func() { res.Body.Close() })
	return res
}

// download reads a disk; the error is that of the body.
func (c *client) download(link string) ([]byte, error) {
	c.Helper()
	res := c.get(link, true)
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return io.ReadAll(res.Body)
}

// ask calls the control API.
func (l *lab) ask(method, path, body string, into any) {
	l.Helper()
	req, err := http.NewRequest(method, l.ready().Control+path, bytes.NewBufferString(body))
	must(l.T, err)
	res, err := http.DefaultClient.Do(req)
	must(l.T, err)
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		l.Fatalf("%s %s %s: %d %s", method, path, body, res.StatusCode, data)
	}
	if into != nil {
		must(l.T, json.Unmarshal(data, into))
	}
}

func (l *lab) fault(rule string) { l.Helper(); l.ask("POST", "/faults", rule, nil) }

// held waits for one held call or stream.
func (l *lab) held() Held {
	l.Helper()
	var answer struct{ Held []Held }
	l.ask("GET", "/held?wait=5", "", &answer)
	if len(answer.Held) != 1 {
		l.Fatalf("held: %+v", answer.Held)
	}
	return answer.Held[0]
}

func (l *lab) calls() []Call {
	var answer struct{ Calls []Call }
	l.ask("GET", "/calls", "", &answer)
	return answer.Calls
}

func (l *lab) tasksByID() map[string]taskView {
	var answer struct{ Tasks []taskView }
	l.ask("GET", "/tasks", "", &answer)
	byID := map[string]taskView{}
	for _, task := range answer.Tasks {
		byID[task.DescriptionID] = task
	}
	return byID
}

// wantFault fails unless err is a SOAP fault of the given type.
func wantFault(t *testing.T, err error, name string) {
	t.Helper()
	if err == nil || !soap.IsSoapFault(err) {
		t.Fatalf("want fault %s, got %v", name, err)
	}
	if got := fmt.Sprintf("%T", soap.ToSoapFault(err).VimFault()); got != "types."+name {
		t.Fatalf("want fault %s, got %s", name, got)
	}
	if soap.ToSoapFault(err).String == "" {
		t.Errorf("fault %s has no text", name)
	}
}

// sparseFile writes a file with random data at some offsets; the rest are holes.
func sparseFile(t *testing.T, name string, size int64, length int, offsets ...int64) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	random := rand.New(rand.NewSource(1))
	for _, off := range offsets {
		data := make([]byte, min(int64(length), size-off))
		random.Read(data)
		_, err := f.WriteAt(data, off)
		must(t, err)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
