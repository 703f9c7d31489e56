package main

import (
	"fmt"
	"net"
	"reflect"
	"regexp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	v1 "kubevirt.io/api/core/v1"
)

// Sources of the rules, in github.com/kubevirt/kubevirt at v1.6.0. Only rules that depend on the object alone are here;
// feature gates, quotas and cluster state are left out.
//
//	vms:   pkg/virt-api/webhooks/validating-webhook/admitters/vms-admitter.go
//	vmi:   pkg/virt-api/webhooks/validating-webhook/admitters/vmi-create-admitter.go
//	iface: pkg/network/admitter/netiface.go
//	net:   pkg/network/admitter/netsource.go
//	bind:  pkg/network/admitter/binding.go
//	mac:   pkg/network/link/mac.go
//	state: pkg/network/admitter/admit.go

var (
	buses  = []v1.DiskBus{v1.DiskBusVirtio, v1.DiskBusSCSI, v1.DiskBusSATA, v1.DiskBusUSB} // vmi: validateBusSupport
	models = []string{"e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", v1.VirtIO} // iface: validInterfaceModels

	runStrategies = []v1.VirtualMachineRunStrategy{ // vms: validRunStrategies
		v1.RunStrategyHalted, v1.RunStrategyManual, v1.RunStrategyAlways,
		v1.RunStrategyRerunOnFailure, v1.RunStrategyOnce,
	}
	interfaceName = regexp.MustCompile(`^[A-Za-z0-9-_]+$`)   // iface: validateInterfaceNameFormat
	diskSerial    = regexp.MustCompile(`^[A-Za-z0-9_.+-]+$`) // vmi: validateSerialNumValue

	states = []v1.InterfaceState{ // state: validateInterfaceStateValue
		"", v1.InterfaceStateAbsent, v1.InterfaceStateLinkUp, v1.InterfaceStateLinkDown,
	}
)

const (
	serialLength  = 256                 // vmi: validateSerialNumLength
	macBytes      = 6                   // mac: ValidateMacAddress
	bridgeMAC     = "02:00:00:00:00:00" // mac: StaticMasqueradeBridgeMAC
	disksPath     = "spec.template.spec.domain.devices.disks"
	nicsPath      = "spec.template.spec.domain.devices.interfaces"
	networksPath  = "spec.template.spec.networks"
	volumesPath   = "spec.template.spec.volumes"
	secureBootSMM = "secure boot requires features.smm"
)

// faults collects lines of the form FIELD: WHAT.
type faults []string

func (f *faults) add(where, format string, values ...any) {
	*f = append(*f, where+": "+fmt.Sprintf(format, values...))
}

// refusals returns the reasons why the API server or KubeVirt's webhooks would refuse a VM that decodes.
func refusals(machine *v1.VirtualMachine) []string {
	var found faults
	object(&found, machine)
	if machine.Spec.Template == nil {
		found.add("spec.template", "missing") // vms: ValidateVirtualMachineSpec
		return found
	}
	spec := &machine.Spec.Template.Spec
	orders := map[uint]string{}
	disks(&found, spec, orders)
	volumes(&found, spec)
	interfaces(&found, spec, orders)
	networks(&found, spec)
	firmware(&found, &spec.Domain)
	clock(&found, &spec.Domain)
	instancetype(&found, machine)
	return found
}

// instancetype: vms applies it before it checks the memory; pkg/instancetype/conflict refuses sizes of the VM's own.
func instancetype(found *faults, machine *v1.VirtualMachine) {
	domain := &machine.Spec.Template.Spec.Domain
	if machine.Spec.Instancetype == nil {
		memory(found, domain)
		return
	}
	cpu := domain.CPU
	sized := cpu != nil && cpu.Sockets+cpu.Cores+cpu.Threads > 0
	if sized || domain.Memory != nil || len(domain.Resources.Limits)+len(domain.Resources.Requests) > 0 {
		found.add("spec.template.spec.domain", "CPU and memory conflict with the instancetype")
	}
}

// object: the API server's rules for any object, and vms: validateRunStrategy.
func object(found *faults, machine *v1.VirtualMachine) {
	if gvk := machine.GroupVersionKind(); gvk != v1.VirtualMachineGroupVersionKind {
		found.add("kind", "%s is not %s", gvk, v1.VirtualMachineGroupVersionKind)
	}
	for _, why := range validation.IsDNS1123Subdomain(machine.Name) {
		found.add("metadata.name", "%s", why)
	}
	for _, fault := range metav1.ValidateLabels(machine.Labels, field.NewPath("metadata", "labels")) {
		found.add(fault.Field, "%s", fault.ErrorBody())
	}
	if template := machine.Spec.Template; template != nil {
		path := field.NewPath("spec", "template", "metadata", "labels")
		for _, fault := range metav1.ValidateLabels(template.ObjectMeta.Labels, path) {
			found.add(fault.Field, "%s", fault.ErrorBody())
		}
	}
	strategy := machine.Spec.RunStrategy
	if (strategy == nil) == (machine.Spec.Running == nil) {
		found.add("spec.runStrategy", "exactly one of running and runStrategy must be given")
	}
	if strategy != nil && !slices.Contains(runStrategies, *strategy) {
		found.add("spec.runStrategy", "invalid %q", *strategy)
	}
}

// disks: vmi validateDisks, validateBootOrder.
func disks(found *faults, spec *v1.VirtualMachineInstanceSpec, orders map[uint]string) {
	named := map[string]bool{}
	for _, volume := range spec.Volumes {
		named[volume.Name] = true
	}
	seen := map[string]bool{}
	for index, disk := range spec.Domain.Devices.Disks {
		where := fmt.Sprintf("%s[%d]", disksPath, index)
		unique(found, where, disk.Name, seen)
		for _, why := range validation.IsDNS1123Label(disk.Name) { // it becomes a container's name
			found.add(where+".name", "%s", why)
		}
		if !named[disk.Name] {
			found.add(where+".name", "no volume %q", disk.Name)
		}
		target(found, where, disk)
		serial(found, where, disk.Serial)
		order(found, where, disk.BootOrder, orders)
	}
}

func serial(found *faults, where, text string) {
	if text != "" && (!diskSerial.MatchString(text) || len([]rune(text)) > serialLength) {
		found.add(where+".serial", "unusable %q", text)
	}
}

func target(found *faults, where string, disk v1.Disk) {
	bus := v1.DiskBus("")
	count := 0
	if disk.Disk != nil {
		bus, count = disk.Disk.Bus, count+1
	}
	if disk.LUN != nil {
		bus, count = disk.LUN.Bus, count+1
	}
	if disk.CDRom != nil {
		bus, count = disk.CDRom.Bus, count+1
	}
	if count > 1 {
		found.add(where, "more than one of disk, lun, cdrom")
	}
	if bus != "" && !slices.Contains(buses, bus) {
		found.add(where+".bus", "unknown bus %q", bus)
	}
}

// volumes: vmi validateVolumes, validateVirtualMachineInstanceSpecVolumeDisks.
func volumes(found *faults, spec *v1.VirtualMachineInstanceSpec) {
	used := map[string]bool{}
	for _, disk := range spec.Domain.Devices.Disks {
		used[disk.Name] = true
	}
	for _, filesystem := range spec.Domain.Devices.Filesystems {
		used[filesystem.Name] = true
	}
	seen := map[string]bool{}
	for index, volume := range spec.Volumes {
		where := fmt.Sprintf("%s[%d]", volumesPath, index)
		unique(found, where, volume.Name, seen)
		if !used[volume.Name] && volume.MemoryDump == nil {
			found.add(where+".name", "no disk %q", volume.Name)
		}
		if count := given(volume.VolumeSource); count != 1 {
			found.add(where, "%d sources instead of one", count)
		}
		if claim := volume.PersistentVolumeClaim; claim != nil {
			for _, why := range validation.IsDNS1123Subdomain(claim.ClaimName) {
				found.add(where+".persistentVolumeClaim.claimName", "%s", why)
			}
		}
	}
}

// interfaces: iface, bind, mac, and vmi validateInterfaceBootOrder.
func interfaces(found *faults, spec *v1.VirtualMachineInstanceSpec, orders map[uint]string) {
	byName := map[string]v1.Network{}
	for _, network := range spec.Networks {
		byName[network.Name] = network
	}
	seen := map[string]bool{}
	for index, nic := range spec.Domain.Devices.Interfaces {
		where := fmt.Sprintf("%s[%d]", nicsPath, index)
		unique(found, where, nic.Name, seen)
		if !interfaceName.MatchString(nic.Name) {
			found.add(where+".name", "%q is not made of letters, digits, - and _", nic.Name)
		}
		network, there := byName[nic.Name]
		if !there {
			found.add(where+".name", "no network %q", nic.Name)
		}
		if nic.Model != "" && !slices.Contains(models, nic.Model) {
			found.add(where+".model", "unknown model %q", nic.Model)
		}
		if nic.Masquerade != nil && network.Pod == nil {
			found.add(where+".masquerade", "only on the pod network")
		}
		if nic.Masquerade != nil && nic.MacAddress == bridgeMAC {
			found.add(where+".macAddress", "%s is the in-pod bridge's own", bridgeMAC)
		}
		if count := given(nic.InterfaceBindingMethod); count > 1 {
			found.add(where, "%d bindings instead of one", count)
		}
		if !slices.Contains(states, nic.State) {
			found.add(where+".state", "unknown state %q", nic.State)
		}
		address(found, where, nic.MacAddress)
		order(found, where, nic.BootOrder, orders)
	}
}

func address(found *faults, where, text string) {
	if text == "" {
		return
	}
	if parsed, err := net.ParseMAC(text); err != nil || len(parsed) > macBytes {
		found.add(where+".macAddress", "malformed %q", text)
	}
}

// networks: net, and iface validateNetworkNameUnique, validateNetworksAssignedToInterfaces.
func networks(found *faults, spec *v1.VirtualMachineInstanceSpec) {
	used := map[string]bool{}
	for _, nic := range spec.Domain.Devices.Interfaces {
		used[nic.Name] = true
	}
	seen := map[string]bool{}
	pods := 0
	for index, network := range spec.Networks {
		where := fmt.Sprintf("%s[%d]", networksPath, index)
		unique(found, where, network.Name, seen)
		if !used[network.Name] {
			found.add(where+".name", "no interface %q", network.Name)
		}
		if (network.Pod == nil) == (network.Multus == nil) {
			found.add(where, "exactly one of pod and multus must be given")
		}
		if network.Multus != nil && network.Multus.NetworkName == "" {
			found.add(where+".multus.networkName", "missing")
		}
		if network.Pod != nil {
			pods++
		}
	}
	if pods > 1 {
		found.add(networksPath, "%d pod networks, one is allowed", pods)
	}
}

// firmware: vmi validateBootloader, validateDomainSpec. A missing value for EFI's secureBoot or SMM's enabled means true.
func firmware(found *faults, domain *v1.DomainSpec) {
	if domain.Firmware == nil || domain.Firmware.Bootloader == nil {
		return
	}
	loader := domain.Firmware.Bootloader
	if loader.EFI != nil && loader.BIOS != nil {
		found.add("spec.template.spec.domain.firmware.bootloader", "both efi and bios")
	}
	secure := loader.EFI != nil && (loader.EFI.SecureBoot == nil || *loader.EFI.SecureBoot)
	features := domain.Features
	smm := features != nil && features.SMM != nil && (features.SMM.Enabled == nil || *features.SMM.Enabled)
	if secure && !smm {
		found.add("spec.template.spec.domain", secureBootSMM)
	}
}

// clock: kubevirt.io/api, ClockOffset: exactly one of its members must be set.
func clock(found *faults, domain *v1.DomainSpec) {
	if domain.Clock != nil && (domain.Clock.UTC == nil) == (domain.Clock.Timezone == nil) {
		found.add("spec.template.spec.domain.clock", "exactly one of utc and timezone must be given")
	}
}

// memory: vmi validateGuestMemoryLimit, ValidateVirtualMachineInstanceMandatoryFields.
func memory(found *faults, domain *v1.DomainSpec) {
	const where = "spec.template.spec.domain.memory.guest"
	asked := domain.Resources.Requests.Memory().Value() != 0
	if domain.Memory == nil || domain.Memory.Guest == nil {
		if !asked && (domain.Memory == nil || domain.Memory.Hugepages == nil) {
			found.add(where, "no memory is asked for anywhere")
		}
		return
	}
	limit := domain.Resources.Limits.Memory()
	if limit.Value() != 0 && limit.Value() < domain.Memory.Guest.Value() {
		found.add(where, "%s is more than the limit %s", domain.Memory.Guest, limit)
	}
}

// order: vmi validateBootOrderValue, validateBootOrder, validateInterfaceBootOrder: one sequence for all devices.
func order(found *faults, where string, given *uint, taken map[uint]string) {
	if given == nil {
		return
	}
	if *given < 1 {
		found.add(where+".bootOrder", "must be greater than 0")
	} else if other, there := taken[*given]; there {
		found.add(where+".bootOrder", "%d is that of %s already", *given, other)
	}
	taken[*given] = where
}

func unique(found *faults, where, name string, seen map[string]bool) {
	if seen[name] {
		found.add(where+".name", "%q is there twice", name)
	}
	seen[name] = true
}

// given counts the fields that are set in a struct of pointers, of which exactly one must be set.
func given(choices any) int {
	value := reflect.ValueOf(choices)
	count := 0
	for index := range value.NumField() {
		if !value.Field(index).IsNil() {
			count++
		}
	}
	return count
}
