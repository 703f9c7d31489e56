package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// initializing is the minimum time until a lease is ready: clients must wait for it.
const initializing = 300 * time.Millisecond

// How a lease ended.
const (
	endCompleted = "completed"
	endAborted   = "aborted"
	endExpired   = "expired"
	endFailed    = "failed"
	endSession   = "session"
)

// lease is our account of one HttpNfcLease.
type lease struct {
	id      string // value of its moref
	ticket  string // secret part of its URLs
	machine *machine
	session string
	created time.Time
	object  *HttpNfcLease
	task    *simulator.Task
	ctx     context.Context // ends with the lease; cuts the transfers
	cancel  context.CancelFunc

	// guarded by leases.mu
	state    types.HttpNfcLeaseState
	end      string
	percents []int32
	timer    *time.Timer
	files    []*leasedFile
}

// leasedFile is one entry of a lease's deviceUrl.
type leasedFile struct {
	target   string // disk-0.vmdk
	device   string // ParaVirtualSCSIController0:0; key and importKey are derived from it
	name     string // file to send
	disk     *Disk  // nil for nvram and ISO
	sha1     string // of the sent bytes, after they were sent completely
	sent     int64
	fileSize int64
}

// leases are all leases of the run.
type leases struct {
	mu   sync.Mutex
	list []*lease
}

func newLeases() *leases { return &leases{} }

// add opens a lease unless exclusive is set and the VM already has one.
func (s *leases) add(l *lease, exclusive bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if exclusive && slices.ContainsFunc(s.list, func(x *lease) bool { return x.machine == l.machine && x.end == "" }) {
		return false
	}
	s.list = append(s.list, l)
	return true
}

func (s *leases) find(match func(*lease) bool) *lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.list, match); i >= 0 {
		return s.list[i]
	}
	return nil
}

func (s *leases) byTicket(ticket string) *lease {
	return s.find(func(l *lease) bool { return l.ticket == ticket })
}

func (s *leases) byID(id string) *lease {
	return s.find(func(l *lease) bool { return l.id == id && id != "" })
}

// live returns the leases that have not ended.
func (s *leases) live() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*lease
	for _, l := range s.list {
		if l.end == "" {
			list = append(list, l)
		}
	}
	return list
}

// stop ends all transfers and timers without notifying clients.
func (s *leases) stop() {
	for _, l := range s.live() {
		s.close(l, endSession)
	}
}

// close records the end of a lease; false if it had ended before.
func (s *leases) close(l *lease, how string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.end != "" {
		return false
	}
	l.end = how
	l.state = types.HttpNfcLeaseStateError
	if how == endCompleted {
		l.state = types.HttpNfcLeaseStateDone
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.cancel()
	return true
}

// status is the state of a lease and its end.
func (s *leases) status(l *lease) (types.HttpNfcLeaseState, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.state, l.end
}

// newLease prepares the account of an export of vm.
func (v *VCenter) newLease(m *machine, session string) *lease {
	l := &lease{
		ticket: uuid.NewString(), machine: m, session: session, created: time.Now(),
		state: types.HttpNfcLeaseStateInitializing,
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// startLease makes the lease ready in the background.
func (v *VCenter) startLease(l *lease, vm *simulator.VirtualMachine) {
	soonest := time.After(initializing)
	files, err := v.leasedFiles(l)
	<-soonest
	if v.faults.Take(target{vm: l.machine}, func(r *Rule) bool { return r.LeaseError > 0 }) != nil {
		v.endLease(l, endFailed, &types.CannotAccessFile{FileFault: types.FileFault{File: vm.Config.Files.VmPathName}})
		return
	}
	if err != nil {
		v.endLease(l, endFailed, &types.SystemError{RuntimeFault: types.RuntimeFault{}, Reason: err.Error()})
		return
	}
	v.leases.mu.Lock()
	if l.end != "" {
		v.leases.mu.Unlock()
		return
	}
	l.files = files
	l.state = types.HttpNfcLeaseStateReady
	l.timer = time.AfterFunc(v.leaseTimeout(), func() { v.expireLease(l) })
	v.leases.mu.Unlock()
	v.showReady(l)
}

func (v *VCenter) leaseTimeout() time.Duration {
	return time.Duration(v.inventory.LeaseTimeoutSeconds * float64(time.Second))
}

// expireLease handles a lease whose client has not reported progress in time.
func (v *VCenter) expireLease(l *lease) { v.endLease(l, endExpired, new(types.Timedout)) }

// endLease ends a lease and notifies the task and the clients.
func (v *VCenter) endLease(l *lease, how string, fault types.BaseMethodFault) {
	if !v.leases.close(l, how) {
		return
	}
	v.finishTask(l.task, fault)
	if how == endExpired || how == endFailed {
		v.showError(l, fault)
	}
}

// leasedFiles lists the files of a lease and makes the VMDKs.
func (v *VCenter) leasedFiles(l *lease) ([]*leasedFile, error) {
	spec := l.machine.spec
	places, err := placeDisks(spec)
	if err != nil {
		return nil, err
	}
	var files []*leasedFile
	for i := range spec.Disks {
		disk := &spec.Disks[i]
		name, err := v.images.vmdk(disk)
		if err != nil {
			return nil, err
		}
		files = append(files, &leasedFile{
			target: "disk-" + itoa(i) + ".vmdk", device: deviceName(places[i]), name: name, disk: disk,
			fileSize: v.deviceFileSize(disk),
		})
	}
	if spec.CDROM != "" && spec.CDROM != emptyCDROM {
		where := place{familyIDE, "ide", cdromBus, cdromUnit}
		files = append(files, &leasedFile{
			target: "disk-" + itoa(len(files)) + ".iso", device: deviceName(where), name: spec.CDROM, fileSize: sizeOf(spec.CDROM),
		})
	}
	if spec.Firmware == "efi" {
		name, err := v.images.nvram()
		if err != nil {
			return nil, err
		}
		files = append(files, &leasedFile{
			target: "disk-" + itoa(len(files)) + ".nvram", device: "nvram", name: name, fileSize: sizeOf(name),
		})
	}
	return files, nil
}

// deviceName is the name of a device in a lease.
func deviceName(where place) string {
	kinds := map[string]string{
		"pvscsi": "ParaVirtualSCSIController", "lsilogic": "VirtualLsiLogicController", "lsilogic-sas": "VirtualLsiLogicSASController",
		"buslogic": "VirtualBusLogicController", "sata": "VirtualAHCIController", "ide": "VirtualIDEController",
		"nvme": "VirtualNVMEController", "usb": "VirtualUSBXHCIController",
	}
	return kinds[where.kind] + itoa(where.bus) + ":" + itoa(where.unit)
}

func (v *VCenter) deviceFileSize(d *Disk) int64 {
	switch v.inventory.DeviceFileSize {
	case "allocated":
		return d.allocated
	case "none":
		return 0
	}
	return d.Capacity
}

// file returns the entry with the given target id.
func (s *leases) file(l *lease, name string) *leasedFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range l.files {
		if f.target == name {
			return f
		}
	}
	return nil
}

// sentFile records a file that was sent completely.
func (s *leases) sentFile(f *leasedFile, sha1 string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.sha1, f.sent = sha1, bytes
}

// leaseView is a lease as the control API shows it.
type leaseView struct {
	ID         string  `json:"id"`
	VM         string  `json:"vm"`
	MoID       string  `json:"moid"`
	Session    string  `json:"session"`
	State      string  `json:"state"`
	Percent    int32   `json:"percent"`
	Percents   []int32 `json:"percents"`
	AgeSeconds float64 `json:"ageSeconds"`
	Ticket     string  `json:"ticket"`
	End        string  `json:"end"`
}

// views returns the leases for the control API.
func (s *leases) views(all bool) []leaseView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := []leaseView{}
	for _, l := range s.list {
		if l.end != "" && !all {
			continue
		}
		view := leaseView{
			ID: l.id, VM: l.machine.path, MoID: l.machine.ref.Value, Session: l.session, State: string(l.state),
			Percents: append([]int32{}, l.percents...), AgeSeconds: time.Since(l.created).Seconds(), Ticket: l.ticket, End: l.end,
		}
		if n := len(l.percents); n > 0 {
			view.Percent = l.percents[n-1]
		}
		views = append(views, view)
	}
	return views
}

// key is the immutable identifier of a file in a lease.
func (l *lease) key(f *leasedFile) string { return "/" + l.machine.ref.Value + "/" + f.device }

// manifest lists the files that were sent completely.
func (s *leases) manifest(l *lease) []types.HttpNfcLeaseManifestEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []types.HttpNfcLeaseManifestEntry
	for _, f := range l.files {
		if f.sha1 == "" {
			continue
		}
		entry := types.HttpNfcLeaseManifestEntry{
			Key: l.key(f), Sha1: f.sha1, Checksum: f.sha1, ChecksumType: "sha1", Size: f.sent, Disk: f.disk != nil,
		}
		if f.disk != nil {
			entry.Capacity, entry.PopulatedSize = f.disk.Capacity, f.disk.allocated
		}
		entries = append(entries, entry)
	}
	return entries
}

// diskNames is only for messages.
func diskNames(files []*leasedFile) string {
	names := map[string]bool{}
	for _, f := range files {
		names[f.target] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
