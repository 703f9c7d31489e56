package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const small = `{"leaseTimeoutSeconds": %s, "datacenters": [{"vms": [
  {"name": "a", "disks": [{"capacity": 67108864}]},
  {"name": "b", "power": "on", "shutdownSeconds": 0.1, "disks": [{"capacity": 1048576}]}
]}]}`

func smallLab(t *testing.T, timeout string) *lab {
	t.Helper()
	return newLab(t, fmt.Sprintf(small, timeout))
}

// dataLab has a VM "a" with 8 MiB of random data on its first disk.
func dataLab(t *testing.T, more string) *lab {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.raw")
	sparseFile(t, file, 32<<20, 8<<20, 4<<20)
	return newLabIn(t, dir, fmt.Sprintf(`{%s "datacenters": [{"vms": [
	  {"name": "a", "disks": [{"file": %q}, {"capacity": 1048576}]}]}]}`, more, file))
}

func TestLogin(t *testing.T) {
	l := smallLab(t, "300")
	_, err := l.tryLogin("wrong")
	wantFault(t, err, "InvalidLogin")
	l.fault(`{"loginFault": 1}`)
	c, err := l.tryLogin("secret")
	wantFault(t, err, "InvalidLogin")
	var root mo.Folder
	err = property.DefaultCollector(c.Client.Client).RetrieveOne(context.Background(), c.ServiceContent.RootFolder, []string{"name"}, &root)
	wantFault(t, err, "NotAuthenticated")
	l.login()
}

func TestInventory(t *testing.T) {
	l := newLab(t, `{"datacenters": [
	  {"name": "DC0", "networks": [{"name": "pg", "kind": "distributed"}, {"name": "std"}], "folders": ["empty/er"], "vms": [
	    {"name": "web", "folder": "prod/web", "firmware": "efi", "tpm": true, "snapshots": 1, "bootOrder": ["disk:1", "nic:0"],
	     "disks": [{}, {"controller": "sata"}, {"controller": "nvme"}, {"controller": "lsilogic"}],
	     "nics": [{"network": "pg", "mac": "00:50:56:00:00:01"}, {"network": "std"}, {"network": "VM Network"}]},
	    {"name": "web", "folder": "test"}]},
	  {"name": "emea/DC1", "vms": [{"name": "web", "folder": "prod/web"}]}]}`)
	c := l.login()
	for _, path := range []string{"/DC0/vm/prod/web/web", "/DC0/vm/test/web", "/emea/DC1/vm/prod/web/web"} {
		c.vm(path)
	}
	if _, err := find.NewFinder(c.Client.Client).Folder(context.Background(), "/DC0/vm/empty/er"); err != nil {
		t.Error(err)
	}
	devices, err := c.vm("/DC0/vm/prod/web/web").Device(context.Background())
	must(t, err)
	var got []string
	for _, device := range devices {
		d := device.GetVirtualDevice()
		switch device.(type) {
		case *types.VirtualDisk, types.BaseVirtualEthernetCard, *types.VirtualTPM:
			got = append(got, fmt.Sprint(d.ControllerKey, "/", d.Key))
		}
	}
	const want = "1000/2000 15000/16000 31000/32000 1001/2016 100/4000 100/4001 100/4002 100/11000"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("devices: %s\nwant:    %s", s, want)
	}
	var vm mo.VirtualMachine
	must(t, property.DefaultCollector(c.Client.Client).RetrieveOne(context.Background(), c.vm("/DC0/vm/prod/web/web").Reference(), nil, &vm))
	if len(vm.Network) != 3 || vm.Snapshot == nil || len(vm.Config.BootOptions.BootOrder) != 2 || !*vm.Summary.Config.TpmPresent {
		t.Errorf("networks %v, snapshot %v, boot %v, tpm %v", vm.Network, vm.Snapshot, vm.Config.BootOptions.BootOrder, *vm.Summary.Config.TpmPresent)
	}
}

func TestInventoryMistakes(t *testing.T) {
	for _, c := range []struct{ inventory, want string }{
		{`{"datacentres": []}`, `unknown field "datacentres"`},
		{`{"kind": "hyperv"}`, "kind"},
		{`{"kind": "esxi"}`, "exactly one datacenter"},
		{`{"datacenters": [{}, {}]}`, "twice"},
		{`{"datacenters": [{"vms": [{"name": "a"}, {"name": "a"}]}]}`, "twice in one folder"},
		{`{"datacenters": [{"vms": [{}]}]}`, "no name"},
		{`{"datacenters": [{"vms": [{"name": "a", "nics": [{"network": "x"}]}]}]}`, `no network "x"`},
		{`{"datacenters": [{"vms": [{"name": "a", "disks": [{"file": "/does/not/exist"}]}]}]}`, "no such file"},
		{`{"datacenters": [{"vms": [{"name": "a", "disks": [{"unit": 7}]}]}]}`, "controller's own"},
		{`{"datacenters": [{"vms": [{"name": "a", "disks": [{"unit": 1}, {"unit": 1}]}]}]}`, "taken"},
		{`{"datacenters": [{"vms": [{"name": "a", "disks": [{"bus": 0}, {"bus": 0, "controller": "lsilogic"}]}]}]}`, "is a pvscsi already"},
		{`{"datacenters": [{"vms": [{"name": "a", "secureBoot": true}]}]}`, "efi"},
		{`{"datacenters": [{"vms": [{"name": "a", "bootOrder": ["disk:0"]}]}]}`, "bootOrder"},
	} {
		file := filepath.Join(t.TempDir(), "inventory.json")
		must(t, os.WriteFile(file, []byte(c.inventory), 0o644))
		if _, err := loadInventory(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.inventory, err, c.want)
		}
	}
}

func TestExportIsEqual(t *testing.T) {
	for _, layout := range []string{layoutVSphere, layoutQEMU} {
		t.Run(layout, func(t *testing.T) {
			dir := t.TempDir()
			raw, qcow2 := filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.qcow2")
			// Data in the last, partial grain; a hole of more than one grain table; data directly after it.
			sparseFile(t, raw, 101<<20+3*512, 300<<10, 0, 63<<20, 64<<20, 101<<20)
			command(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
			l := newLabIn(t, dir, fmt.Sprintf(`{"vmdkLayout": %q, "datacenters": [{"vms": [{"name": "a", "firmware": "efi",
			  "disks": [{"file": %q}, {"file": %q, "format": "qcow2"}, {"file": %q, "capacity": 209715200}, {}]}]}]}`, layout, raw, qcow2, raw))
			c := l.login()
			lease := c.exportReady(c.vm("a"))
			sums := map[string]string{}
			for i, device := range lease.Info.DeviceUrl {
				data, err := c.download(device.Url)
				must(t, err)
				sum := sha1.Sum(data)
				sums[device.Key] = hex.EncodeToString(sum[:])
				if !*device.Disk || i == 3 {
					continue
				}
				file := filepath.Join(dir, device.TargetId)
				must(t, os.WriteFile(file, data, 0o644))
				command(t, "qemu-img", "compare", "-f", "vmdk", "-F", "raw", file, raw)
			}
			if len(sums) != 5 {
				t.Errorf("entries: %v", sums)
			}
			res, err := methods.HttpNfcLeaseGetManifest(context.Background(), c.Client, &types.HttpNfcLeaseGetManifest{This: lease.Self})
			must(t, err)
			for _, entry := range res.Returnval {
				if sums[entry.Key] != entry.Sha1 {
					t.Errorf("%s: sha1 %s, manifest %s", entry.Key, sums[entry.Key], entry.Sha1)
				}
			}
			must(t, c.complete(lease.Self))
		})
	}
}

func TestVMDKIsMadeOnce(t *testing.T) {
	l := dataLab(t, "")
	disk := &l.inventory.Datacenters[0].VMs[0].Disks[0]
	first, err := l.images.vmdk(disk)
	must(t, err)
	before, _ := os.Stat(first)
	store, err := newImageStore(filepath.Join(l.state, "vmdk"), layoutVSphere)
	must(t, err)
	again, err := store.vmdk(disk)
	must(t, err)
	after, _ := os.Stat(again)
	if first != again || !os.SameFile(before, after) {
		t.Error("made again")
	}
	now := time.Now()
	must(t, os.Chtimes(disk.File, now, now))
	if changed, _ := store.vmdk(disk); changed == first {
		t.Error("not made again after a change")
	}
}

func TestLeaseLife(t *testing.T) {
	l := dataLab(t, "")
	c := l.login()
	vm := c.vm("a")
	ref, err := c.export(vm)
	must(t, err)
	if lease, _ := c.lease(ref); lease.State != types.HttpNfcLeaseStateInitializing {
		t.Errorf("state %s at first", lease.State)
	}
	wantFault(t, c.complete(ref), "InvalidState")
	_, err = c.export(vm)
	wantFault(t, err, "InvalidState")
	l.eventually("ready", func() bool {
		lease, _ := c.lease(ref)
		return lease.State == types.HttpNfcLeaseStateReady
	})
	_, err = vm.PowerOn(context.Background())
	wantFault(t, err, "TaskInProgress")
	lease, err := c.lease(ref)
	must(t, err)
	link := lease.Info.DeviceUrl[0].Url
	if got := c.get(link, false).StatusCode; got != http.StatusUnauthorized {
		t.Errorf("without cookie: %d", got)
	}
	res := c.get(link, true)
	if res.ContentLength != -1 || res.TransferEncoding[0] != "chunked" {
		t.Errorf("length %d, encoding %v", res.ContentLength, res.TransferEncoding)
	}
	must(t, c.progress(ref, 42))
	var leases struct{ Leases []leaseView }
	l.ask("GET", "/leases", "", &leases)
	if len(leases.Leases) != 1 || leases.Leases[0].Percent != 42 {
		t.Errorf("leases: %+v", leases)
	}
	must(t, c.complete(ref))
	wantFault(t, c.progress(ref, 43), "ManagedObjectNotFound")
	if got := c.get(link, true).StatusCode; got != http.StatusNotFound {
		t.Errorf("after Complete: %d", got)
	}
	if task := l.tasksByID()["VirtualMachine.ExportVmLRO"]; task.State != "success" || task.EntityName != "a" {
		t.Errorf("task: %+v", task)
	}
	lease = c.exportReady(vm)
	_, err = methods.HttpNfcLeaseAbort(context.Background(), c.Client, &types.HttpNfcLeaseAbort{This: lease.Self})
	must(t, err)
	l.ask("GET", "/leases?all=1", "", &leases)
	if n := len(leases.Leases); n != 2 || leases.Leases[0].End != endCompleted || leases.Leases[1].End != endAborted {
		t.Errorf("leases: %+v", leases)
	}
}

func TestManyLeases(t *testing.T) {
	l := dataLab(t, `"leases": "many",`)
	c := l.login()
	c.exportReady(c.vm("a"))
	c.exportReady(c.vm("a"))
}

func TestLeaseExpires(t *testing.T) {
	l := dataLab(t, `"leaseTimeoutSeconds": 0.5,`)
	c := l.login()
	lease := c.exportReady(c.vm("a"))
	link := lease.Info.DeviceUrl[0].Url
	for range 3 { // longer than the timeout, possible because of progress
		time.Sleep(250 * time.Millisecond)
		must(t, c.progress(lease.Self, 1))
	}
	l.fault(`{"pauseAt": 100}`)
	_, err := c.download(link)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a transfer over the end of its lease: %v", err)
	}
	wantFault(t, c.progress(lease.Self, 2), "Timedout")
	wantFault(t, c.complete(lease.Self), "Timedout")
	lease, err = c.lease(lease.Self)
	must(t, err)
	if lease.State != types.HttpNfcLeaseStateError || lease.Error == nil || lease.Error.LocalizedMessage == "" {
		t.Errorf("lease: %s %+v", lease.State, lease.Error)
	}
	if got := c.get(link, true).StatusCode; got != http.StatusInternalServerError {
		t.Errorf("status %d", got)
	}
	if task := l.tasksByID()["VirtualMachine.ExportVmLRO"]; task.Error != "Timedout" {
		t.Errorf("task: %+v", task)
	}
}

func TestStreamFaults(t *testing.T) {
	l := dataLab(t, `"leases": "many",`)
	c := l.login()
	lease := c.exportReady(c.vm("a"))
	link, other := lease.Info.DeviceUrl[0].Url, lease.Info.DeviceUrl[1].Url
	good, err := c.download(link)
	must(t, err)

	l.fault(`{"cutAfterBytes": 100001, "disk": "disk-0"}`)
	_, err = c.download(other)
	must(t, err)
	data, err := c.download(link)
	if len(data) != 100001 || err == nil {
		t.Errorf("cut: %d bytes, %v", len(data), err)
	}
	l.fault(`{"truncateAt": 70000}`)
	if data, err = c.download(link); len(data) != 70000 || err != nil {
		t.Errorf("truncated: %d bytes, %v", len(data), err)
	}
	l.fault(`{"corruptAt": 123456}`)
	data, err = c.download(link)
	must(t, err)
	if len(data) != len(good) || data[123456] != good[123456]^0xff {
		t.Errorf("corrupt: %d bytes", len(data))
	}
	data[123456] ^= 0xff
	if string(data) != string(good) {
		t.Error("corrupt: more than one byte")
	}
	l.fault(`{"http500": 1}`)
	if _, err = c.download(link); err == nil || err.Error() != "status 500" {
		t.Error(err)
	}
	l.fault(`{"bytesPerSecond": 200000, "disk": "disk-1"}`)
	start := time.Now()
	data, err = c.download(other)
	must(t, err)
	if took, want := time.Since(start).Seconds(), float64(len(data))/200000; took < want*0.8 || took > want*3+0.5 {
		t.Errorf("%d bytes at 200000/s took %.2f s", len(data), took)
	}
	l.ask("POST", "/faults/clear", "", nil)
	if data, err = c.download(link); err != nil || string(data) != string(good) {
		t.Errorf("afterwards: %d bytes, %v", len(data), err)
	}
}

func TestPausedStream(t *testing.T) {
	l := dataLab(t, "")
	c := l.login()
	lease := c.exportReady(c.vm("a"))
	l.fault(`{"pauseAt": 65537, "times": 2}`)
	res := c.get(lease.Info.DeviceUrl[0].Url, true)
	held := l.held()
	if held.Kind != "stream" || held.At != 65537 || held.Disk != "disk-0.vmdk" || held.VM != "DC0/a" {
		t.Errorf("held: %+v", held)
	}
	if n, err := io.ReadFull(res.Body, make([]byte, 65537)); err != nil {
		t.Errorf("before the pause: %d bytes, %v", n, err)
	}
	l.ask("POST", "/release", fmt.Sprintf(`{"id": %d}`, held.ID), nil)
	if n, err := io.Copy(io.Discard, res.Body); err != nil || n == 0 {
		t.Errorf("after the pause: %d bytes, %v", n, err)
	}
	res = c.get(lease.Info.DeviceUrl[0].Url, true)
	l.held()
	res.Body.Close() // the client dies
	l.eventually("outcome", func() bool {
		calls := l.calls()
		last := calls[len(calls)-1]
		return last.Outcome == ClientGone && last.Bytes == 65537
	})
}

func TestLeaseFaults(t *testing.T) {
	l := smallLab(t, "300")
	c := l.login()
	vm := c.vm("a")
	l.fault(`[{"exportFault": "ResourceInUse"}, {"leaseError": 1}]`)
	_, err := c.export(vm)
	wantFault(t, err, "ResourceInUse")
	ref, err := c.export(vm)
	must(t, err)
	l.eventually("error", func() bool {
		lease, err := c.lease(ref)
		must(t, err)
		return lease.State == types.HttpNfcLeaseStateError && lease.Error != nil
	})
	if task := l.tasksByID()["VirtualMachine.ExportVmLRO"]; task.State != "error" {
		t.Errorf("task: %+v", task)
	}
	lease := c.exportReady(vm)
	l.fault(`{"expireLease": "now"}`)
	wantFault(t, c.progress(lease.Self, 1), "Timedout")
	for _, rule := range []string{`{}`, `{"cutAfterBytes":1,"pauseAt":2}`, `{"exportFault":"Nonsense"}`, `{"callFault":{"method":"ExportVm","fault":"Nonsense"}}`, `{"unknown":1}`, `{"http500":1,"vm":"x"}`} {
		res, err := http.Post(l.ready().Control+"/faults", "application/json", strings.NewReader(rule))
		must(t, err)
		res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("%s: %d", rule, res.StatusCode)
		}
	}
}

func TestHeldCalls(t *testing.T) {
	l := smallLab(t, "300")
	c := l.login()
	lease := c.exportReady(c.vm("a"))
	ended := func() bool { return len(l.leases.live()) == 0 }

	l.fault(`{"hold": {"method": "HttpNfcLeaseComplete", "when": "before"}}`)
	ctx, die := context.WithCancel(context.Background())
	done := make(chan error)
	call := func(ctx context.Context) {
		_, err := methods.HttpNfcLeaseComplete(ctx, c.Client, &types.HttpNfcLeaseComplete{This: lease.Self})
		done <- err
	}
	go call(ctx)
	if held := l.held(); held.Method != "HttpNfcLeaseComplete" || held.When != holdBefore || held.VM != "DC0/a" {
		t.Errorf("held: %+v", held)
	}
	die()
	if <-done == nil || ended() {
		t.Error("a call held before was carried out although its client died")
	}
	l.eventually("outcome", func() bool {
		calls := l.calls()
		return calls[len(calls)-1].Outcome == ClientGone
	})
	l.fault(`{"hold": {"method": "HttpNfcLeaseComplete", "when": "after"}}`)
	go call(context.Background())
	l.held()
	if !ended() {
		t.Error("a call held after was not carried out")
	}
	l.ask("POST", "/release", `{"all": true}`, nil)
	must(t, <-done)

	l.fault(`{"hold": {"method": "CurrentTime", "when": "before", "nth": 2}}`)
	now := func() {
		_, err := methods.GetCurrentTime(context.Background(), c.Client)
		done <- err
	}
	go now()
	must(t, <-done)
	go now()
	l.held()
	l.ask("POST", "/release", `{"all": true}`, nil)
	must(t, <-done)
}

func TestSessions(t *testing.T) {
	l := smallLab(t, "300")
	admin, importer := l.login(), l.login()
	lease := importer.exportReady(importer.vm("a"))
	var manager mo.SessionManager
	must(t, property.DefaultCollector(admin.Client.Client).RetrieveOne(context.Background(), *admin.ServiceContent.SessionManager, []string{"sessionList"}, &manager))
	if len(manager.SessionList) != 2 {
		t.Fatalf("sessions: %+v", manager.SessionList)
	}
	for _, s := range manager.SessionList {
		if s.UserName != l.inventory.Username || s.UserAgent == "" || s.IpAddress != "127.0.0.1" || s.LoginTime.IsZero() {
			t.Errorf("session: %+v", s)
		}
	}
	wantFault(t, admin.SessionManager.TerminateSession(context.Background(), []string{"unknown"}), "NotFound")
	must(t, admin.SessionManager.TerminateSession(context.Background(), []string{importer.key()}))
	_, err := importer.export(object.NewVirtualMachine(importer.Client.Client, lease.Info.Entity))
	wantFault(t, err, "NotAuthenticated")
	if got := admin.get(lease.Info.DeviceUrl[0].Url, true).StatusCode; got != http.StatusNotFound {
		t.Errorf("URL of a terminated session's lease: %d", got)
	}
	if len(l.leases.live()) != 0 {
		t.Error("the lease outlived its session")
	}
	lease = admin.exportReady(admin.vm("a"))
	l.fault(`{"expireSession": "now"}`)
	wantFault(t, admin.progress(lease.Self, 1), "NotAuthenticated")
	if len(l.leases.live())+len(l.sessions()) != 0 {
		t.Error("something outlived the sessions")
	}
	third := l.login()
	lease = third.exportReady(third.vm("a"))
	must(t, third.Logout(context.Background()))
	if len(l.leases.live()) != 0 {
		t.Error("the lease outlived the logout")
	}
}

func TestPower(t *testing.T) {
	l := smallLab(t, "300")
	c := l.login()
	ctx := context.Background()
	a, b := c.vm("a"), c.vm("b")
	_, err := c.export(b)
	wantFault(t, err, "InvalidPowerState")
	wantFault(t, a.ShutdownGuest(ctx), "InvalidPowerState")
	l.ask("POST", "/vms/set", `{"vm": "b", "tools": "notRunning"}`, nil)
	wantFault(t, b.ShutdownGuest(ctx), "ToolsUnavailable")
	l.ask("POST", "/vms/set", `{"vm": "DC0/b", "tools": "running", "ignoresShutdown": true}`, nil)
	must(t, b.ShutdownGuest(ctx))
	time.Sleep(200 * time.Millisecond)
	if power, _ := b.PowerState(ctx); power != types.VirtualMachinePowerStatePoweredOn {
		t.Error("the guest did not ignore the shutdown")
	}
	l.ask("POST", "/vms/set", `{"vm": "b", "ignoresShutdown": false}`, nil)
	must(t, b.ShutdownGuest(ctx))
	l.eventually("off", func() bool {
		power, _ := b.PowerState(ctx)
		return power == types.VirtualMachinePowerStatePoweredOff
	})
	var vm mo.VirtualMachine
	must(t, property.DefaultCollector(c.Client.Client).RetrieveOne(ctx, b.Reference(), []string{"guest", "runtime"}, &vm))
	if vm.Guest.ToolsRunningStatus != "guestToolsNotRunning" || vm.Runtime.BootTime != nil {
		t.Errorf("tools %s, boot time %v", vm.Guest.ToolsRunningStatus, vm.Runtime.BootTime)
	}
	task, err := b.PowerOff(ctx)
	must(t, err)
	if err := task.Wait(ctx); err == nil {
		t.Error("a VM was powered off twice")
	}
	if task := l.tasksByID()["VirtualMachine.powerOff"]; task.Error != "InvalidPowerState" || task.EntityName != "b" || task.ErrorMessage == "" {
		t.Errorf("task: %+v", task)
	}
	var answer struct {
		VMs []struct {
			Name, Power          string
			PowerOffs, Shutdowns int
		}
	}
	l.ask("GET", "/vms", "", &answer)
	if vm := answer.VMs[1]; vm.Name != "b" || vm.Power != "off" || vm.PowerOffs != 1 || vm.Shutdowns != 3 {
		t.Errorf("vms: %+v", answer.VMs)
	}
	l.ask("POST", "/vms/power", `{"vm": "b", "state": "on"}`, nil)
	if power, _ := b.PowerState(ctx); power != types.VirtualMachinePowerStatePoweredOn {
		t.Error("not on")
	}
}

func TestPrivileges(t *testing.T) {
	l := smallLab(t, "300")
	c := l.login()
	ctx := context.Background()
	a, b := c.vm("a"), c.vm("b")
	held := func() string {
		res, err := methods.HasPrivilegeOnEntities(ctx, c.Client, &types.HasPrivilegeOnEntities{
			This: *c.ServiceContent.AuthorizationManager, Entity: []types.ManagedObjectReference{a.Reference()}, SessionId: c.key(),
			PrivId: []string{"VApp.Export", "VirtualMachine.Interact.PowerOff"},
		})
		must(t, err)
		return fmt.Sprint(res.Returnval[0].PrivAvailability)
	}
	if got := held(); got != "[{{} VApp.Export true} {{} VirtualMachine.Interact.PowerOff true}]" {
		t.Error(got)
	}
	l.ask("POST", "/account", `{"lacks": ["VApp.Export", "VirtualMachine.Interact.PowerOff"]}`, nil)
	if got := held(); got != "[{{} VApp.Export false} {{} VirtualMachine.Interact.PowerOff false}]" {
		t.Error(got)
	}
	_, err := c.export(a)
	wantFault(t, err, "NoPermission")
	wantFault(t, b.ShutdownGuest(ctx), "NoPermission")
	_, err = b.PowerOff(ctx)
	wantFault(t, err, "NoPermission")
	if tasks := l.tasksByID(); len(tasks) != 0 {
		t.Error(tasks)
	}
	l.ask("POST", "/account", `{"lacks": []}`, nil)
	l.fault(`{"callFault": {"method": "ShutdownGuest", "fault": "NotSupported"}}`)
	wantFault(t, b.ShutdownGuest(ctx), "NotSupported")
	must(t, b.ShutdownGuest(ctx))
}

func TestCalls(t *testing.T) {
	l := smallLab(t, "300")
	c := l.login()
	lease := c.exportReady(c.vm("a"))
	l.ask("POST", "/reset-calls", "", nil)
	data, err := c.download(lease.Info.DeviceUrl[0].Url)
	must(t, err)
	_ = c.progress(lease.Self, 200)
	calls := l.calls()
	disk, soap := calls[len(calls)-2], calls[len(calls)-1]
	if disk.Kind != "disk" || disk.Bytes != int64(len(data)) || disk.Outcome != Completed || disk.VM != "DC0/a" || disk.Disk != "disk-0.vmdk" {
		t.Errorf("disk: %+v", disk)
	}
	if soap.Method != "HttpNfcLeaseProgress" || soap.Fault != "InvalidArgument" || soap.Session != c.key() || soap.This != lease.Self.Value {
		t.Errorf("soap: %+v", soap)
	}
}

func TestESXi(t *testing.T) {
	l := newLab(t, `{"kind": "esxi", "requireCookie": false, "datacenters": [{"networks": [{"name": "std"}],
	  "vms": [{"name": "a", "disks": [{"capacity": 1048576}], "nics": [{"network": "std"}]}]}]}`)
	c := l.login()
	if c.IsVC() {
		t.Error("says it is a vCenter")
	}
	lease := c.exportReady(c.vm("/ha-datacenter/vm/a"))
	link := lease.Info.DeviceUrl[0].Url
	if !strings.HasPrefix(link, "https://*:") {
		t.Error(link)
	}
	if got := c.get(strings.Replace(link, "*", "127.0.0.1", 1), false).StatusCode; got != http.StatusOK {
		t.Errorf("status %d", got)
	}
	must(t, c.complete(lease.Self))
}

func TestRunEndsWithStdin(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "inventory.json")
	must(t, os.WriteFile(file, []byte(`{}`), 0o644))
	stdin, hold := io.Pipe()
	stdout, out := io.Pipe()
	done := make(chan error)
	go func() {
		done <- run(context.Background(), []string{"--inventory", file, "--state", dir, "--exit-with-stdin"}, stdin, out)
	}()
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	must(t, err)
	var r ready
	must(t, json.Unmarshal(line, &r))
	if r.PID != os.Getpid() || len(r.Thumbprint) != 59 || len(r.ThumbprintSHA256) != 95 {
		t.Errorf("ready: %+v", r)
	}
	hold.Close()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("still running")
	}
	if err := run(context.Background(), []string{"--state", dir}, stdin, io.Discard); err == nil {
		t.Error("ran without an inventory")
	}
}

func TestDiskHost(t *testing.T) {
	for _, kind := range []string{diskHostOwn, diskHostSelfSigned} {
		l := newLab(t, fmt.Sprintf(`{"diskHost": %q, "datacenters": [{"vms": [{"name": "a", "disks": [{"capacity": 1048576}]}]}]}`, kind))
		c := l.login()
		device := c.exportReady(c.vm("a")).Info.DeviceUrl[0]
		if strings.HasPrefix(device.Url, strings.TrimSuffix(l.ready().URL, "/sdk")) || device.SslThumbprint == l.ready().Thumbprint {
			t.Errorf("%s: %s %s", kind, device.Url, device.SslThumbprint)
		}
		h := &http.Client{Transport: c.Client.Client.Client.DefaultTransport()}
		res, err := h.Get(device.Url)
		if kind == diskHostSelfSigned {
			if err == nil {
				t.Error("a self-signed certificate was verified")
			}
			continue
		}
		must(t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("without cookie: %d", res.StatusCode)
		}
		if _, err := c.download(device.Url); err != nil {
			t.Error(err)
		}
	}
}
