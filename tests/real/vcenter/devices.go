package main

import (
	"crypto/sha1"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/types"
)

// Device keys, as vSphere gives them: a base per family and a stride per bus.
const (
	keyPCI         = 100
	keyIDE         = 200
	keySCSI        = 1000
	keySCSIDisk    = 2000
	keyIDEDisk     = 3000
	keyNIC         = 4000
	keyVTPM        = 11000
	keyPassthrough = 13000
	keyUSB         = 14000
	keyUSBDisk     = 14100
	keyUSBDevice   = 14500
	keySATA        = 15000
	keySATADisk    = 16000
	keyNVMe        = 31000
	keyNVMeDisk    = 32000

	// scsiOwnUnit is the unit number of a SCSI controller itself.
	scsiOwnUnit = 7
	// firstPCIUnit is the first slot of the PCI bus that vSphere gives to a controller.
	firstPCIUnit = 3
	// firstNICUnit likewise, for NICs; passthrough devices follow.
	firstNICUnit, firstPassthroughUnit = 12, 40
	// cdromUnit is where vSphere's own wizard puts the CD-ROM: IDE 1:0.
	cdromBus, cdromUnit = 1, 0
)

// family is a group of controller types that share bus numbers.
type family struct {
	name           string
	buses, units   int32
	controllerKey  int32
	diskKey        int32
	diskKeysPerBus int32
}

var (
	familySCSI = &family{"scsi", 4, 16, keySCSI, keySCSIDisk, 16}
	familyIDE  = &family{"ide", 2, 2, keyIDE, keyIDEDisk, 2}
	familySATA = &family{"sata", 4, 30, keySATA, keySATADisk, 30}
	familyNVMe = &family{"nvme", 4, 64, keyNVMe, keyNVMeDisk, 64}
	familyUSB  = &family{"usb", 1, 8, keyUSB, keyUSBDisk, 8}

	// families maps the inventory's controller names.
	families = map[string]*family{
		"pvscsi": familySCSI, "lsilogic": familySCSI, "lsilogic-sas": familySCSI, "buslogic": familySCSI,
		"ide": familyIDE, "sata": familySATA, "nvme": familyNVMe, "usb": familyUSB,
	}

	nicTypes = []string{"vmxnet3", "vmxnet2", "vmxnet", "e1000", "e1000e", "pcnet32", "sriov"}
)

// place is the position of a disk.
type place struct {
	family *family
	kind   string // controller type
	bus    int32
	unit   int32
}

func (p place) controllerKey() int32 { return p.family.controllerKey + p.bus }
func (p place) diskKey() int32 {
	return p.family.diskKey + p.bus*p.family.diskKeysPerBus + p.unit
}

// slot is one bus of one family.
type slot struct {
	family *family
	bus    int32
}

// placement gives every disk of a VM its controller and unit.
type placement struct {
	kinds map[slot]string
	taken map[slot]map[int32]bool
}

// placeDisks applies the rules of README.md for bus and unit.
func placeDisks(vm *VM) ([]place, error) {
	p := placement{kinds: map[slot]string{}, taken: map[slot]map[int32]bool{}}
	if vm.CDROM != "" {
		p.take(slot{familyIDE, cdromBus}, "ide", cdromUnit)
	}
	places := make([]place, 0, len(vm.Disks))
	for i, disk := range vm.Disks {
		where, err := p.place(disk)
		if err != nil {
			return nil, fmt.Errorf("disks[%d]: %w", i, err)
		}
		places = append(places, where)
	}
	return places, nil
}

func (p *placement) place(disk Disk) (place, error) {
	fam, ok := families[disk.Controller]
	if !ok {
		return place{}, fmt.Errorf("controller: %q is unknown", disk.Controller)
	}
	bus, err := p.bus(disk, fam)
	if err != nil {
		return place{}, err
	}
	s := slot{fam, bus}
	unit, err := p.unit(disk, s)
	if err != nil {
		return place{}, err
	}
	p.take(s, disk.Controller, unit)
	return place{fam, disk.Controller, bus, unit}, nil
}

func (p *placement) bus(disk Disk, fam *family) (int32, error) {
	if disk.Bus != nil {
		bus := *disk.Bus
		if bus < 0 || bus >= fam.buses {
			return 0, fmt.Errorf("bus: %s has 0 to %d", fam.name, fam.buses-1)
		}
		if kind := p.kinds[slot{fam, bus}]; kind != "" && kind != disk.Controller {
			return 0, fmt.Errorf("bus: %s %d is a %s already", fam.name, bus, kind)
		}
		return bus, nil
	}
	for bus := range fam.buses {
		if p.kinds[slot{fam, bus}] == disk.Controller && p.free(slot{fam, bus}) >= 0 {
			return bus, nil
		}
	}
	for bus := range fam.buses {
		if p.kinds[slot{fam, bus}] == "" {
			return bus, nil
		}
	}
	return 0, fmt.Errorf("no bus left for a %s controller", disk.Controller)
}

// free is the lowest free unit of a bus, -1 if there is none.
func (p *placement) free(s slot) int32 {
	for unit := range s.family.units {
		if !p.taken[s][unit] && !(s.family == familySCSI && unit == scsiOwnUnit) {
			return unit
		}
	}
	return -1
}

func (p *placement) unit(disk Disk, s slot) (int32, error) {
	if disk.Unit == nil {
		if unit := p.free(s); unit >= 0 {
			return unit, nil
		}
		return 0, fmt.Errorf("no unit left on %s %d", s.family.name, s.bus)
	}
	unit := *disk.Unit
	switch {
	case unit < 0 || unit >= s.family.units:
		return 0, fmt.Errorf("unit: %s has 0 to %d", s.family.name, s.family.units-1)
	case s.family == familySCSI && unit == scsiOwnUnit:
		return 0, fmt.Errorf("unit: %d is the controller's own", scsiOwnUnit)
	case p.taken[s][unit]:
		return 0, fmt.Errorf("unit: %s %d:%d is taken", s.family.name, s.bus, unit)
	}
	return unit, nil
}

func (p *placement) take(s slot, kind string, unit int32) {
	p.kinds[s] = kind
	if p.taken[s] == nil {
		p.taken[s] = map[int32]bool{}
	}
	p.taken[s][unit] = true
}

// bootOrder translates the inventory's boot order; disks and NICs are named by their position.
func bootOrder(vm *VM) ([]types.BaseVirtualMachineBootOptionsBootableDevice, error) {
	places, err := placeDisks(vm)
	if err != nil {
		return nil, err
	}
	var order []types.BaseVirtualMachineBootOptionsBootableDevice
	for _, entry := range vm.BootOrder {
		kind, number, _ := strings.Cut(entry, ":")
		n, err := strconv.Atoi(number)
		switch {
		case kind == "cdrom" && number == "":
			order = append(order, &types.VirtualMachineBootOptionsBootableCdromDevice{})
		case kind == "floppy" && number == "":
			order = append(order, &types.VirtualMachineBootOptionsBootableFloppyDevice{})
		case kind == "disk" && err == nil && n >= 0 && n < len(places):
			order = append(order, &types.VirtualMachineBootOptionsBootableDiskDevice{DeviceKey: places[n].diskKey()})
		case kind == "nic" && err == nil && n >= 0 && n < len(vm.NICs):
			order = append(order, &types.VirtualMachineBootOptionsBootableEthernetDevice{DeviceKey: keyNIC + int32(n)})
		default:
			return nil, fmt.Errorf("bootOrder: %q is no device of this VM", entry)
		}
	}
	return order, nil
}

// hardware builds the device list of one VM.
type hardware struct {
	vm       *VM
	dir      string // datastore path of the VM's directory
	identity string // made-up uuids and MACs are derived from it
	network  func(name string) (types.BaseVirtualDeviceBackingInfo, error)

	devices     []types.BaseVirtualDevice
	controllers map[int32]*types.VirtualController
	pciUnits    int32 // of controllers so far
}

// build returns all devices: vSphere's default ones first, then the controllers and their devices.
func (h *hardware) build() ([]types.BaseVirtualDevice, error) {
	h.controllers = map[int32]*types.VirtualController{}
	h.addDefaults()
	places, err := placeDisks(h.vm)
	if err != nil {
		return nil, err
	}
	for i, where := range places {
		h.addController(where)
		h.addDisk(i, where)
	}
	h.addCDROM()
	for i := range h.vm.NICs {
		if err := h.addNIC(i); err != nil {
			return nil, err
		}
	}
	h.addOthers()
	return h.devices, nil
}

// add appends a device and registers it at its controller.
func (h *hardware) add(device types.BaseVirtualDevice, label, summary string) {
	d := device.GetVirtualDevice()
	d.DeviceInfo = &types.Description{Label: label, Summary: summary}
	if c := h.controllers[d.ControllerKey]; c != nil {
		c.Device = append(c.Device, d.Key)
	}
	if c, ok := device.(types.BaseVirtualController); ok {
		h.controllers[d.Key] = c.GetVirtualController()
	}
	h.devices = append(h.devices, device)
}

// addDefaults copies the devices every VM has; the simulator's own are shared between VMs.
func (h *hardware) addDefaults() {
	for _, device := range esx.VirtualDevice {
		fresh := reflect.New(reflect.TypeOf(device).Elem())
		fresh.Elem().Set(reflect.ValueOf(device).Elem())
		copied := fresh.Interface().(types.BaseVirtualDevice)
		if c, ok := copied.(types.BaseVirtualController); ok {
			controller := c.GetVirtualController()
			controller.Device = slices.Clone(controller.Device)
			h.controllers[controller.Key] = controller
		}
		h.devices = append(h.devices, copied)
	}
}

func (h *hardware) addController(where place) {
	key := where.controllerKey()
	if h.controllers[key] != nil {
		return
	}
	unit := firstPCIUnit + h.pciUnits
	h.pciUnits++
	base := types.VirtualController{
		VirtualDevice: types.VirtualDevice{Key: key, ControllerKey: keyPCI, UnitNumber: &unit},
		BusNumber:     where.bus,
	}
	scsi := types.VirtualSCSIController{
		VirtualController: base, HotAddRemove: types.NewBool(true),
		SharedBus: types.VirtualSCSISharingNoSharing, ScsiCtlrUnitNumber: scsiOwnUnit,
	}
	n := where.bus
	switch where.kind {
	case "pvscsi":
		h.add(&types.ParaVirtualSCSIController{VirtualSCSIController: scsi}, fmt.Sprint("SCSI controller ", n), "VMware paravirtual SCSI")
	case "lsilogic":
		h.add(&types.VirtualLsiLogicController{VirtualSCSIController: scsi}, fmt.Sprint("SCSI controller ", n), "LSI Logic")
	case "lsilogic-sas":
		h.add(&types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}, fmt.Sprint("SCSI controller ", n), "LSI Logic SAS")
	case "buslogic":
		h.add(&types.VirtualBusLogicController{VirtualSCSIController: scsi}, fmt.Sprint("SCSI controller ", n), "BusLogic")
	case "sata":
		h.add(&types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: base}},
			fmt.Sprint("SATA controller ", n), "AHCI")
	case "nvme":
		h.add(&types.VirtualNVMEController{VirtualController: base, SharedBus: "noSharing"}, fmt.Sprint("NVME controller ", n), "NVME controller")
	case "usb":
		h.add(&types.VirtualUSBXHCIController{VirtualController: base}, "USB xHCI controller", "USB xHCI controller")
	}
}

func (h *hardware) addDisk(i int, where place) {
	disk := &h.vm.Disks[i]
	unit := where.unit
	h.add(&types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: where.diskKey(), ControllerKey: where.controllerKey(), UnitNumber: &unit, Backing: h.diskBacking(i),
		},
		CapacityInKB:    disk.Capacity / 1024,
		CapacityInBytes: disk.Capacity,
		Shares:          &types.SharesInfo{Shares: 1000, Level: types.SharesLevelNormal},
		DiskObjectId:    fmt.Sprintf("1-%d", where.diskKey()),
	}, fmt.Sprintf("Hard disk %d", i+1), thousands(disk.Capacity/1024)+" KB")
}

// diskFile is the name of disk i at snapshot level n: web.vmdk, web_1.vmdk, web_1-000001.vmdk.
func (h *hardware) diskFile(i, n int) string {
	name := path.Base(h.vm.Name)
	if i > 0 {
		name = fmt.Sprintf("%s_%d", name, i)
	}
	if n > 0 {
		name = fmt.Sprintf("%s-%06d", name, n)
	}
	return path.Join(h.dir, name+".vmdk")
}

// diskBacking returns the file of disk i; a snapshot adds a delta file before it, except for independent disks.
func (h *hardware) diskBacking(i int) types.BaseVirtualDeviceBackingInfo {
	disk := &h.vm.Disks[i]
	id := disk.UUID
	if id == "" {
		id = h.uuid(fmt.Sprint("disk ", i)).String()
	}
	if disk.RDM != "" {
		return &types.VirtualDiskRawDiskMappingVer1BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: h.diskFile(i, 0)},
			LunUuid:                      "0200000000" + strings.ReplaceAll(h.uuid(fmt.Sprint("lun ", i)).String(), "-", ""),
			DeviceName:                   "vml.0200000000", CompatibilityMode: disk.RDM + "Mode",
			DiskMode: disk.Mode, Uuid: id, Sharing: disk.sharing(),
		}
	}
	levels := h.vm.Snapshots
	if disk.Mode != "persistent" {
		levels = 0
	}
	var backing *types.VirtualDiskFlatVer2BackingInfo
	for n := range levels + 1 {
		backing = &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: h.diskFile(i, n)},
			DiskMode:                     disk.Mode, Split: types.NewBool(false), WriteThrough: types.NewBool(false),
			ThinProvisioned: types.NewBool(yes(disk.Thin)), EagerlyScrub: types.NewBool(false), Uuid: id,
			ContentId: strings.ReplaceAll(h.uuid(fmt.Sprint("content ", i, " ", n)).String(), "-", ""),
			Parent:    backing, DigestEnabled: types.NewBool(false), Sharing: disk.sharing(),
		}
		if n > 0 {
			backing.DeltaDiskFormat = "redoLogFormat"
		}
		if h.vm.Encrypted {
			backing.KeyId = h.keyID()
		}
	}
	return backing
}

func (d *Disk) sharing() string {
	if d.Sharing == "" {
		return string(types.VirtualDiskSharingSharingNone)
	}
	return string(types.VirtualDiskSharingSharingMultiWriter)
}

func (h *hardware) keyID() *types.CryptoKeyId {
	return &types.CryptoKeyId{KeyId: h.uuid("key").String(), ProviderId: &types.KeyProviderId{Id: "test-key-provider"}}
}

func (h *hardware) addCDROM() {
	if h.vm.CDROM == "" {
		return
	}
	cdrom := &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: place{familyIDE, "ide", cdromBus, cdromUnit}.diskKey(), ControllerKey: keyIDE + cdromBus, UnitNumber: types.NewInt32(cdromUnit),
		Connectable: h.connectable(true),
	}}
	if h.vm.CDROM == emptyCDROM {
		cdrom.Connectable = h.connectable(false)
		cdrom.Backing = &types.VirtualCdromRemotePassthroughBackingInfo{
			VirtualDeviceRemoteDeviceBackingInfo: types.VirtualDeviceRemoteDeviceBackingInfo{UseAutoDetect: types.NewBool(false)},
		}
		h.add(cdrom, "CD/DVD drive 1", "Remote device")
		return
	}
	file := "[" + datastoreName + "] iso/" + path.Base(h.vm.CDROM)
	cdrom.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}}
	h.add(cdrom, "CD/DVD drive 1", "ISO "+file)
}

func (h *hardware) connectable(start bool) *types.VirtualDeviceConnectInfo {
	return &types.VirtualDeviceConnectInfo{
		StartConnected: start, AllowGuestControl: true, Connected: start && h.vm.Power == "on", Status: "untried",
	}
}

func (h *hardware) addNIC(i int) error {
	nic := h.vm.NICs[i]
	backing, err := h.network(nic.Network)
	if err != nil {
		return err
	}
	mac, addressType := nic.MAC, "manual"
	if mac == "" {
		mac, addressType = h.mac(i), "assigned"
	}
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{
			Key: keyNIC + int32(i), ControllerKey: keyPCI, UnitNumber: types.NewInt32(int32(firstNICUnit + i)),
			Backing: backing, Connectable: h.connectable(yes(nic.Connected)),
		},
		AddressType: addressType, MacAddress: mac, WakeOnLanEnabled: types.NewBool(true), UptCompatibilityEnabled: types.NewBool(false),
	}
	h.add(ethernetCard(nic.Type, card), fmt.Sprintf("Network adapter %d", i+1), nic.Network)
	return nil
}

func ethernetCard(kind string, card types.VirtualEthernetCard) types.BaseVirtualDevice {
	switch kind {
	case "vmxnet2":
		return &types.VirtualVmxnet2{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
	case "vmxnet":
		return &types.VirtualVmxnet{VirtualEthernetCard: card}
	case "e1000":
		return &types.VirtualE1000{VirtualEthernetCard: card}
	case "e1000e":
		return &types.VirtualE1000e{VirtualEthernetCard: card}
	case "pcnet32":
		return &types.VirtualPCNet32{VirtualEthernetCard: card}
	case "sriov":
		return &types.VirtualSriovEthernetCard{VirtualEthernetCard: card}
	default:
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
	}
}

func (h *hardware) addOthers() {
	if h.vm.TPM {
		h.add(&types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: keyVTPM, ControllerKey: keyPCI}},
			"Virtual TPM", "Trusted Platform Module")
	}
	for i := range h.vm.Passthrough {
		h.add(&types.VirtualPCIPassthrough{VirtualDevice: types.VirtualDevice{
			Key: keyPassthrough + int32(i), ControllerKey: keyPCI, UnitNumber: types.NewInt32(int32(firstPassthroughUnit + i)),
			Backing: &types.VirtualPCIPassthroughDeviceBackingInfo{
				VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "GPU"},
				Id:                             fmt.Sprintf("00000:%03d:00.0", 59+i), DeviceId: "1eb8", SystemId: h.uuid("host").String(), VendorId: 0x10de,
			},
		}}, fmt.Sprintf("PCI device %d", i), "GPU")
	}
	if h.vm.USBDevices > 0 {
		h.addController(place{familyUSB, "usb", 0, 0})
	}
	for i := range h.vm.USBDevices {
		h.add(&types.VirtualUSB{VirtualDevice: types.VirtualDevice{
			Key: keyUSBDevice + int32(i), ControllerKey: keyUSB,
			Backing: &types.VirtualUSBUSBBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "path:0/1/0"}},
		}, Connected: true, Vendor: 0x0529, Product: 1}, fmt.Sprintf("USB %d", i+1), "path:0/1/0")
	}
}

// uuid derives a stable uuid from the VM's path, so that two runs show the same VM.
func (h *hardware) uuid(what string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(h.identity+" "+what))
}

// mac derives an address in the range vCenter assigns from (00:50:56:80–bf).
func (h *hardware) mac(i int) string {
	sum := sha1.Sum([]byte(h.identity + fmt.Sprint(" nic ", i)))
	return fmt.Sprintf("00:50:56:%02x:%02x:%02x", 0x80|sum[0]&0x3f, sum[1], sum[2])
}

// thousands prints n with commas, as vSphere does in a disk's summary.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
