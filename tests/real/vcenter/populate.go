package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	datastoreName  = "datastore1"
	defaultNetwork = "VM Network" // every datacenter and host has it
	standardSwitch = "vSwitch0"
)

func sortBy[T any, K cmp.Ordered](list []T, key func(T) K) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
}

// populate creates the inventory through an in-process client, as an administrator would.
func (v *VCenter) populate(ctx context.Context) error {
	var err error
	if v.client, err = vim25.NewClient(ctx, v.service); err != nil {
		return err
	}
	// Leftovers of an earlier run in its datastores would conflict with the new VMs' files.
	if err := os.RemoveAll(filepath.Join(v.state, "datastores")); err != nil {
		return err
	}
	for i := range v.inventory.Datacenters {
		spec := &v.inventory.Datacenters[i]
		site, err := v.buildSite(ctx, spec)
		if err != nil {
			return fmt.Errorf("datacenter %q: %w", spec.Name, err)
		}
		for _, folder := range spec.Folders {
			if _, err := site.vmFolder(ctx, folder); err != nil {
				return err
			}
		}
		for j := range spec.VMs {
			vm := &spec.VMs[j]
			if err := site.addVM(ctx, vm); err != nil {
				return fmt.Errorf("vm %q in %q: %w", vm.Name, spec.Name, err)
			}
		}
	}
	v.forgetTasks()
	if v.inventory.esxi() || !yes(v.inventory.AutomationAPI) {
		return nil
	}
	if v.automation, err = v.newAutomation(); err != nil {
		return err
	}
	return v.addTags()
}

// site is a datacenter while it is being filled.
type site struct {
	v          *VCenter
	spec       *Datacenter
	folders    *object.DatacenterFolders
	pool       *object.ResourcePool
	host       *object.HostSystem
	networks   map[string]mo.Reference
	vmDirs     map[string]*object.Folder
	datacenter types.ManagedObjectReference
}

func (v *VCenter) buildSite(ctx context.Context, spec *Datacenter) (*site, error) {
	s := &site{v: v, spec: spec, networks: map[string]mo.Reference{}, vmDirs: map[string]*object.Folder{}}
	dc := object.NewDatacenter(v.client, esx.Datacenter.Reference())
	if !v.inventory.esxi() {
		folder := object.NewRootFolder(v.client)
		for _, name := range strings.Split(path.Dir(spec.Name), "/") {
			if name == "." {
				continue
			}
			var err error
			if folder, err = v.childFolder(ctx, folder, name); err != nil {
				return nil, err
			}
		}
		var err error
		if dc, err = folder.CreateDatacenter(ctx, path.Base(spec.Name)); err != nil {
			return nil, err
		}
	}
	s.datacenter = dc.Reference()
	var err error
	if s.folders, err = dc.Folders(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{s.addHost, s.addDatastore, s.addNetworks} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// childFolder returns the folder called name in parent; it is made if needed.
func (v *VCenter) childFolder(ctx context.Context, parent *object.Folder, name string) (*object.Folder, error) {
	folder := v.registry().Get(parent.Reference()).(*simulator.Folder)
	if child := v.registry().FindByName(name, folder.ChildEntity); child != nil {
		return object.NewFolder(v.client, child.Reference()), nil
	}
	return parent.CreateFolder(ctx, name)
}

// addHost gives a vCenter's datacenter one cluster with one host; a stand-alone host is its own host.
func (s *site) addHost(ctx context.Context) error {
	client := s.v.client
	if s.v.inventory.esxi() {
		s.host = object.NewHostSystem(client, esx.HostSystem.Reference())
		var err error
		s.pool, err = s.host.ResourcePool(ctx)
		return err
	}
	cluster, err := s.folders.HostFolder.CreateCluster(ctx, "Cluster", types.ClusterConfigSpecEx{})
	if err != nil {
		return err
	}
	// In vSphere the URLs of a lease name the host as vCenter knows it.
	name, port, err := net.SplitHostPort(s.v.disks.host)
	if err != nil {
		return err
	}
	task, err := cluster.AddHost(ctx, types.HostConnectSpec{HostName: name}, true, nil, nil)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	s.host = object.NewHostSystem(client, info.Result.(types.ManagedObjectReference))
	summary := &s.v.registry().Get(s.host.Reference()).(*simulator.HostSystem).Summary
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	summary.Config.Port, summary.Config.SslThumbprint = int32(number), s.v.disks.identity.thumbprint()
	s.pool, err = cluster.ResourcePool(ctx)
	return err
}

func (s *site) addDatastore(ctx context.Context) error {
	dir, err := filepath.Abs(filepath.Join(s.v.state, "datastores", strings.ReplaceAll(s.spec.Name, "/", "_")))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	system, err := s.host.ConfigManager().DatastoreSystem(ctx)
	if err != nil {
		return err
	}
	ds, err := system.CreateLocalDatastore(ctx, datastoreName, dir)
	if err != nil {
		return err
	}
	s.v.registry().Get(ds.Reference()).(*simulator.Datastore).Summary.Type = string(types.HostFileSystemVolumeFileSystemTypeVMFS)
	return nil
}

func (s *site) addNetworks(ctx context.Context) error {
	var dvs *object.DistributedVirtualSwitch
	for _, network := range s.spec.Networks {
		var err error
		if network.Kind == "distributed" {
			if dvs == nil {
				if dvs, err = s.addSwitch(ctx); err != nil {
					return err
				}
			}
			err = s.addDistributed(ctx, dvs, network.Name)
		} else {
			err = s.addStandard(ctx, network.Name)
		}
		if err != nil {
			return fmt.Errorf("network %q: %w", network.Name, err)
		}
	}
	folder := s.v.registry().Get(s.folders.NetworkFolder.Reference()).(*simulator.Folder)
	for _, ref := range folder.ChildEntity {
		network := s.v.registry().Get(ref)
		s.networks[networkName(network)] = network
	}
	// Datacenter.network contains only networks; the simulator also puts the switch there.
	dc := s.v.registry().Get(*folder.Parent).(*simulator.Datacenter)
	dc.Network = slices.DeleteFunc(dc.Network, func(ref types.ManagedObjectReference) bool {
		return strings.HasSuffix(ref.Type, "VirtualSwitch")
	})
	return nil
}

func networkName(network mo.Reference) string {
	switch n := network.(type) {
	case *mo.Network:
		return n.Name
	case *simulator.DistributedVirtualPortgroup:
		return n.Name
	}
	return ""
}

func (s *site) addStandard(ctx context.Context, name string) error {
	if name == defaultNetwork {
		return nil
	}
	system, err := s.host.ConfigManager().NetworkSystem(ctx)
	if err != nil {
		return err
	}
	return system.AddPortGroup(ctx, types.HostPortGroupSpec{Name: name, VswitchName: standardSwitch})
}

func (s *site) addSwitch(ctx context.Context) (*object.DistributedVirtualSwitch, error) {
	task, err := s.folders.NetworkFolder.CreateDVS(ctx, types.DVSCreateSpec{
		ConfigSpec: &types.VMwareDVSConfigSpec{DVSConfigSpec: types.DVSConfigSpec{Name: "DSwitch"}},
	})
	if err != nil {
		return nil, err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return nil, err
	}
	dvs := object.NewDistributedVirtualSwitch(s.v.client, info.Result.(types.ManagedObjectReference))
	task, err = dvs.Reconfigure(ctx, &types.DVSConfigSpec{Host: []types.DistributedVirtualSwitchHostMemberConfigSpec{{
		Operation: string(types.ConfigSpecOperationAdd), Host: s.host.Reference(),
	}}})
	if err != nil {
		return nil, err
	}
	if err := task.Wait(ctx); err != nil {
		return nil, err
	}
	s.markUplinks(info.Result.(types.ManagedObjectReference))
	return dvs, nil
}

// markUplinks marks a switch's uplink port groups as vSphere does and the simulator does not:
// DVPortgroupConfigInfo.uplink, and the tag that replaced it before API 6.7. No VM can be attached to them.
func (s *site) markUplinks(ref types.ManagedObjectReference) {
	for _, group := range s.v.registry().Get(ref).(*simulator.DistributedVirtualSwitch).Portgroup {
		if g := s.v.registry().Get(group).(*simulator.DistributedVirtualPortgroup); strings.Contains(g.Name, "-DVUplinks-") {
			g.Config.Uplink = types.NewBool(true)
			g.Tag = []types.Tag{{Key: "SYSTEM/DVS.UPLINKPG"}}
		}
	}
}

func (s *site) addDistributed(ctx context.Context, dvs *object.DistributedVirtualSwitch, name string) error {
	task, err := dvs.AddPortgroup(ctx, []types.DVPortgroupConfigSpec{{
		Name: name, Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding), NumPorts: 8,
	}})
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

// backing is the backing of a NIC on the network.
func (s *site) backing(name string) (types.BaseVirtualDeviceBackingInfo, error) {
	switch n := s.networks[name].(type) {
	case *mo.Network:
		return &types.VirtualEthernetCardNetworkBackingInfo{
			VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: name, UseAutoDetect: types.NewBool(false)},
			Network:                        &n.Self,
		}, nil
	case *simulator.DistributedVirtualPortgroup:
		dvs := s.v.registry().Get(*n.Config.DistributedVirtualSwitch).(*simulator.DistributedVirtualSwitch)
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: dvs.Uuid, PortgroupKey: n.Key, PortKey: "0"},
		}, nil
	}
	return nil, fmt.Errorf("no network %q", name)
}

// vmFolder returns the VM folder at a path; it is made if needed.
func (s *site) vmFolder(ctx context.Context, name string) (*object.Folder, error) {
	name = strings.Trim(name, "/")
	if name == "" || name == "." {
		return s.folders.VmFolder, nil
	}
	if folder := s.vmDirs[name]; folder != nil {
		return folder, nil
	}
	parent, err := s.vmFolder(ctx, path.Dir(name))
	if err != nil {
		return nil, err
	}
	folder, err := s.v.childFolder(ctx, parent, path.Base(name))
	s.vmDirs[name] = folder
	return folder, err
}

// addVM creates a VM without devices and then gives it its hardware as vSphere would show it.
// The simulator's own device handling is bypassed: it shares the default devices between VMs, renumbers keys
// and supports only some of the backings.
func (s *site) addVM(ctx context.Context, spec *VM) error {
	folder, err := s.vmFolder(ctx, spec.Folder)
	if err != nil {
		return err
	}
	task, err := folder.CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name: spec.Name, GuestId: spec.GuestID, Annotation: spec.Annotation,
		NumCPUs: spec.CPUs, NumCoresPerSocket: &spec.CoresPerSocket, MemoryMB: spec.MemoryMiB,
		Firmware: spec.Firmware, Version: "vmx-21",
		Files: &types.VirtualMachineFileInfo{VmPathName: "[" + datastoreName + "]"},
	}, s.pool, s.host)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	vm := s.v.vm(info.Result.(types.ManagedObjectReference))
	m := &machine{
		spec: spec, path: path.Join(s.spec.Name, spec.Folder, vm.Name), ref: vm.Self, site: s,
		tools: spec.Tools, shutdownSeconds: spec.ShutdownSeconds, ignoresShutdown: spec.IgnoresShutdown,
	}
	if err := s.furnish(vm, m); err != nil {
		return err
	}
	s.v.mu.Lock()
	s.v.machines[vm.Self] = m
	s.v.mu.Unlock()
	if err := s.addSnapshots(ctx, m); err != nil {
		return err
	}
	// Only now: the snapshots change the file list in the simulator's way, and we set the sizes.
	s.v.setPower(m, spec.Power == "on")
	m.mu.Lock()
	m.booted = time.Now().Add(-uptime).UTC()
	m.mu.Unlock()
	s.v.setTools(m, spec.Tools)
	return nil
}

func (s *site) addSnapshots(ctx context.Context, m *machine) error {
	vm := object.NewVirtualMachine(s.v.client, m.ref)
	for i := range m.spec.Snapshots {
		task, err := vm.CreateSnapshot(ctx, fmt.Sprintf("snapshot %d", i+1), "", false, false)
		if err != nil {
			return err
		}
		if err := task.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// furnish sets everything of a VM that CreateVM cannot set.
func (s *site) furnish(vm *simulator.VirtualMachine, m *machine) error {
	spec := m.spec
	h := &hardware{vm: spec, dir: path.Dir(vm.Config.Files.VmPathName), identity: m.path, network: s.backing}
	devices, err := h.build()
	if err != nil {
		return err
	}
	vm.Config.Hardware.Device = devices
	vm.Config.Hardware.NumCoresPerSocket = &spec.CoresPerSocket
	or(&spec.UUID, h.uuid("bios").String())
	or(&spec.InstanceUUID, h.uuid("instance").String())
	vm.Config.Uuid, vm.Summary.Config.Uuid = spec.UUID, spec.UUID
	vm.Config.InstanceUuid, vm.Summary.Config.InstanceUuid = spec.InstanceUUID, spec.InstanceUUID
	vm.Config.GuestFullName, vm.Summary.Config.GuestFullName = spec.GuestFullName, spec.GuestFullName
	vm.Summary.Config.Annotation = spec.Annotation
	vm.Summary.Config.NumVirtualDisks = int32(len(spec.Disks))
	vm.Summary.Config.NumEthernetCards = int32(len(spec.NICs))
	vm.Summary.Config.TpmPresent = types.NewBool(spec.TPM)
	order, err := bootOrder(spec)
	if err != nil {
		return err
	}
	vm.Config.BootOptions = &types.VirtualMachineBootOptions{
		EnterBIOSSetup: types.NewBool(false), EfiSecureBootEnabled: types.NewBool(spec.SecureBoot),
		BootRetryEnabled: types.NewBool(false), BootRetryDelay: 10000, BootOrder: order, NetworkBootProtocol: "ipv4",
	}
	vm.Config.ChangeTrackingEnabled = types.NewBool(spec.ChangeTracking)
	vm.Capability.ChangeTrackingSupported = true
	if spec.Encrypted {
		vm.Config.KeyId = h.keyID()
	}
	// vSphere's changeVersion is a time in this form.
	vm.Config.ChangeVersion = time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
	// The simulator leaves these empty; pyvmomi refuses empty enums ("AttributeError: runtime").
	vm.Runtime.FaultToleranceState = types.VirtualMachineFaultToleranceStateNotConfigured
	vm.Runtime.RecordReplayState = types.VirtualMachineRecordReplayStateInactive
	vm.Runtime.Host = types.NewReference(s.host.Reference())
	vm.Summary.Runtime = vm.Runtime
	s.attachNetworks(vm, spec)
	return s.writeFiles(vm, h)
}

// attachNetworks links VM and networks in both directions.
func (s *site) attachNetworks(vm *simulator.VirtualMachine, spec *VM) {
	for _, nic := range spec.NICs {
		network := s.networks[nic.Network]
		if slices.Contains(vm.Network, network.Reference()) {
			continue
		}
		vm.Network = append(vm.Network, network.Reference())
		switch n := network.(type) {
		case *mo.Network:
			n.Vm = append(n.Vm, vm.Self)
		case *simulator.DistributedVirtualPortgroup:
			n.Vm = append(n.Vm, vm.Self)
		}
	}
}

// writeFiles puts sparse files for the disks into the datastore, as long as the source's bytes in use:
// the simulator computes layoutEx, storage and summary.storage from them.
func (s *site) writeFiles(vm *simulator.VirtualMachine, h *hardware) error {
	dir := filepath.Join(s.v.state, "datastores", strings.ReplaceAll(s.spec.Name, "/", "_"))
	for i := range h.vm.Disks {
		var p object.DatastorePath
		p.FromString(h.diskFile(i, 0))
		size := h.vm.Disks[i].allocated
		if !yes(h.vm.Disks[i].Thin) {
			size = h.vm.Disks[i].Capacity
		}
		flat := strings.TrimSuffix(p.Path, ".vmdk") + "-flat.vmdk"
		for name, length := range map[string]int64{p.Path: 512, flat: size} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, nil, 0o644); err != nil {
				return err
			}
			if err := os.Truncate(file, length); err != nil {
				return err
			}
		}
	}
	ctx := s.v.context()
	ctx.WithLock(vm, func() { vm.RefreshStorageInfo(ctx, nil) })
	return nil
}

// forgetTasks removes the tasks of building the inventory: a test wants to see only those of its client.
func (v *VCenter) forgetTasks() {
	ctx := v.context()
	for _, task := range v.registry().AllReference("Task") {
		v.registry().Remove(ctx, task.Reference())
	}
	manager := v.service.Context.Session.Get(*v.client.ServiceContent.TaskManager).(*simulator.TaskManager)
	manager.RecentTask = nil
	for _, entity := range v.registry().All("") {
		entity.Entity().RecentTask = nil
	}
}
