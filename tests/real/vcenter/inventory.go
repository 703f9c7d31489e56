package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"slices"
	"strings"
)

// Inventory is the content of the simulated vSphere. README.md documents every field.
type Inventory struct {
	Username            string       `json:"username"`
	Password            string       `json:"password"`
	Kind                string       `json:"kind"`
	Version             string       `json:"version"`
	Lacks               []string     `json:"lacks"`
	LeaseTimeoutSeconds float64      `json:"leaseTimeoutSeconds"`
	Leases              string       `json:"leases"`
	RequireCookie       *bool        `json:"requireCookie"`
	DeviceFileSize      string       `json:"deviceFileSize"`
	VMDKLayout          string       `json:"vmdkLayout"`
	DiskHost            string       `json:"diskHost"`
	AutomationAPI       *bool        `json:"automationApi"`
	Datacenters         []Datacenter `json:"datacenters"`
}

// Datacenter is one datacenter; Name may be a path of folders.
type Datacenter struct {
	Name     string    `json:"name"`
	Folders  []string  `json:"folders"`
	Networks []Network `json:"networks"`
	VMs      []VM      `json:"vms"`
}

// Network is a standard port group or a distributed one.
type Network struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// VM is one virtual machine.
type VM struct {
	Name            string   `json:"name"`
	Folder          string   `json:"folder"`
	CPUs            int32    `json:"cpus"`
	CoresPerSocket  int32    `json:"coresPerSocket"`
	MemoryMiB       int64    `json:"memoryMiB"`
	Firmware        string   `json:"firmware"`
	SecureBoot      bool     `json:"secureBoot"`
	TPM             bool     `json:"tpm"`
	GuestID         string   `json:"guestId"`
	GuestFullName   string   `json:"guestFullName"`
	Annotation      string   `json:"annotation"`
	Tags            []string `json:"tags"`
	Power           string   `json:"power"`
	Tools           string   `json:"tools"`
	ShutdownSeconds float64  `json:"shutdownSeconds"`
	IgnoresShutdown bool     `json:"ignoresShutdown"`
	UUID            string   `json:"uuid"`
	InstanceUUID    string   `json:"instanceUuid"`
	BootOrder       []string `json:"bootOrder"`
	Encrypted       bool     `json:"encrypted"`
	Snapshots       int      `json:"snapshots"`
	Passthrough     int      `json:"passthrough"`
	USBDevices      int      `json:"usbDevices"`
	CDROM           string   `json:"cdrom"`
	ChangeTracking  bool     `json:"changeTracking"`
	Disks           []Disk   `json:"disks"`
	NICs            []NIC    `json:"nics"`
}

// Disk is one virtual disk and the source of its content.
type Disk struct {
	File       string `json:"file"`
	Format     string `json:"format"`
	Capacity   int64  `json:"capacity"`
	VMDK       string `json:"vmdk"`
	Controller string `json:"controller"`
	Bus        *int32 `json:"bus"`
	Unit       *int32 `json:"unit"`
	Mode       string `json:"mode"`
	RDM        string `json:"rdm"`
	Sharing    string `json:"sharing"`
	UUID       string `json:"uuid"`
	Thin       *bool  `json:"thin"`

	allocated int64 // bytes in use in File
}

// NIC is one network adapter.
type NIC struct {
	Network   string `json:"network"`
	MAC       string `json:"mac"`
	Type      string `json:"type"`
	Connected *bool  `json:"connected"`
}

const (
	kindVCenter = "vcenter"
	kindESXi    = "esxi"

	toolsRunning      = "running"
	toolsNotRunning   = "notRunning"
	toolsNotInstalled = "notInstalled"

	diskHostSame       = "same"
	diskHostOwn        = "own"
	diskHostSelfSigned = "self-signed"

	// esxDatacenter is the name of the only datacenter of a stand-alone host.
	esxDatacenter = "ha-datacenter"
	// emptyCDROM is a CD-ROM drive without a medium.
	emptyCDROM = "empty"
)

// loadInventory reads, completes and checks the inventory.
func loadInventory(file string) (*Inventory, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var inv Inventory
	decoder := json.NewDecoder(f)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&inv); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%s: more than one JSON value", file)
	}
	inv.complete()
	if err := inv.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &inv, nil
}

// or sets *field to value if it is empty.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// yes is the value of an optional boolean whose default is true.
func yes(b *bool) bool { return b == nil || *b }

// esxi reports whether the simulator is a stand-alone host.
func (inv *Inventory) esxi() bool { return inv.Kind == kindESXi }

func (inv *Inventory) complete() {
	or(&inv.Kind, kindVCenter)
	user := "administrator@vsphere.local"
	if inv.esxi() {
		user = "root"
	}
	or(&inv.Username, user)
	or(&inv.Password, "secret")
	or(&inv.Version, "8.0.3")
	or(&inv.LeaseTimeoutSeconds, 300)
	or(&inv.Leases, "one")
	or(&inv.DeviceFileSize, "capacity")
	or(&inv.VMDKLayout, layoutVSphere)
	or(&inv.DiskHost, diskHostSame)
	for i := range inv.Datacenters {
		dc := &inv.Datacenters[i]
		name := "DC0"
		if inv.esxi() {
			name = esxDatacenter
		}
		or(&dc.Name, name)
		for j := range dc.Networks {
			or(&dc.Networks[j].Kind, "standard")
		}
		for j := range dc.VMs {
			dc.VMs[j].complete()
		}
	}
}

func (vm *VM) complete() {
	or(&vm.CPUs, 1)
	or(&vm.CoresPerSocket, 1)
	or(&vm.MemoryMiB, 1024)
	or(&vm.Firmware, "bios")
	or(&vm.GuestID, "debian12_64Guest")
	or(&vm.GuestFullName, guestFullName(vm.GuestID))
	or(&vm.Power, "off")
	or(&vm.Tools, toolsRunning)
	vm.Folder = strings.Trim(vm.Folder, "/")
	for i := range vm.Disks {
		disk := &vm.Disks[i]
		or(&disk.Format, "raw")
		or(&disk.Controller, "pvscsi")
		or(&disk.Mode, "persistent")
	}
	for i := range vm.NICs {
		or(&vm.NICs[i].Type, "vmxnet3")
	}
}

// oneOf is an error unless value is among the allowed ones.
func oneOf(field, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %q", field, value, allowed)
}

// first returns the first error that is not nil.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (inv *Inventory) check() error {
	if err := first(
		oneOf("kind", inv.Kind, kindVCenter, kindESXi),
		oneOf("leases", inv.Leases, "one", "many"),
		oneOf("deviceFileSize", inv.DeviceFileSize, "capacity", "allocated", "none"),
		oneOf("diskHost", inv.DiskHost, diskHostSame, diskHostOwn, diskHostSelfSigned),
		oneOf("vmdkLayout", inv.VMDKLayout, layoutVSphere, layoutQEMU),
		checkPrivileges(inv.Lacks),
	); err != nil {
		return err
	}
	if inv.esxi() && (len(inv.Datacenters) != 1 || inv.Datacenters[0].Name != esxDatacenter) {
		return fmt.Errorf("kind esxi: needs exactly one datacenter, %q", esxDatacenter)
	}
	seen := map[string]bool{}
	for i := range inv.Datacenters {
		dc := &inv.Datacenters[i]
		if seen[dc.Name] {
			return fmt.Errorf("datacenter %q: twice", dc.Name)
		}
		seen[dc.Name] = true
		if err := inv.checkDatacenter(dc); err != nil {
			return fmt.Errorf("datacenter %q: %w", dc.Name, err)
		}
	}
	return nil
}

func (inv *Inventory) checkDatacenter(dc *Datacenter) error {
	for _, network := range dc.Networks {
		if err := oneOf("network "+network.Name, network.Kind, "standard", "distributed"); err != nil {
			return err
		}
		if inv.esxi() && network.Kind != "standard" {
			return fmt.Errorf("network %q: a stand-alone host has only standard networks", network.Name)
		}
	}
	seen := map[string]bool{}
	for i := range dc.VMs {
		vm := &dc.VMs[i]
		where := path.Join(vm.Folder, vm.Name)
		if vm.Name == "" {
			return fmt.Errorf("vm %d has no name", i)
		}
		// A vCenter answers DuplicateName; a host knows its VMs by their files.
		if seen[where] && !inv.esxi() {
			return fmt.Errorf("vm %q: twice in one folder", where)
		}
		seen[where] = true
		if inv.esxi() && vm.Folder != "" {
			return fmt.Errorf("vm %q: a stand-alone host has no VM folders", where)
		}
		if err := vm.check(dc); err != nil {
			return fmt.Errorf("vm %q: %w", where, err)
		}
	}
	return nil
}

func (vm *VM) check(dc *Datacenter) error {
	if err := first(
		oneOf("firmware", vm.Firmware, "bios", "efi"),
		oneOf("power", vm.Power, "on", "off"),
		oneOf("tools", vm.Tools, toolsRunning, toolsNotRunning, toolsNotInstalled),
	); err != nil {
		return err
	}
	if vm.SecureBoot && vm.Firmware != "efi" {
		return fmt.Errorf("secureBoot needs firmware efi")
	}
	if err := vm.checkFiles(); err != nil {
		return err
	}
	for i, nic := range vm.NICs {
		known := nic.Network == defaultNetwork || slices.ContainsFunc(dc.Networks, func(n Network) bool { return n.Name == nic.Network })
		if !known {
			return fmt.Errorf("nics[%d]: no network %q in this datacenter", i, nic.Network)
		}
		if _, err := net.ParseMAC(nic.MAC); nic.MAC != "" && err != nil {
			return fmt.Errorf("nics[%d]: %w", i, err)
		}
		if err := oneOf("type", nic.Type, nicTypes...); err != nil {
			return fmt.Errorf("nics[%d]: %w", i, err)
		}
	}
	for _, tag := range vm.Tags {
		if category, name, found := strings.Cut(tag, ":"); !found || category == "" || name == "" {
			return fmt.Errorf("tag %q: write it as CATEGORY:NAME", tag)
		}
	}
	if _, err := placeDisks(vm); err != nil {
		return err
	}
	_, err := bootOrder(vm)
	return err
}

func (vm *VM) checkFiles() error {
	if vm.CDROM != "" && vm.CDROM != emptyCDROM {
		if _, err := os.Stat(vm.CDROM); err != nil {
			return fmt.Errorf("cdrom: %w", err)
		}
	}
	for i := range vm.Disks {
		disk := &vm.Disks[i]
		if err := first(
			oneOf("format", disk.Format, "raw", "qcow2"),
			oneOf("mode", disk.Mode, "persistent", "independent_persistent", "independent_nonpersistent"),
			oneOf("rdm", disk.RDM, "", "physical", "virtual"),
			oneOf("sharing", disk.Sharing, "", "multi-writer"),
			disk.measure(),
		); err != nil {
			return fmt.Errorf("disks[%d]: %w", i, err)
		}
	}
	return nil
}
