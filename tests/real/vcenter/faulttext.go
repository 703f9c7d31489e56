package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"reflect"
	"regexp"

	"github.com/vmware/govmomi/vim25/types"
)

// faultTexts are vSphere's English messages for the faults that clients of this stand-in get.
// The simulator leaves most of them empty.
var faultTexts = map[string]string{
	"InvalidLogin":      "Cannot complete login due to an incorrect user name or password.",
	"NotAuthenticated":  "The session is not authenticated.",
	"NoPermission":      "Permission to perform this operation was denied.",
	"InvalidState":      "The operation is not allowed in the current state.",
	"InvalidPowerState": "The attempted operation cannot be performed in the current state (%s).",
	"ToolsUnavailable":  "Cannot complete operation because VMware Tools is not running in this virtual machine.",
	"TaskInProgress":    "Another task is already in progress.",
	"ResourceInUse":     "The resource is in use.",
	"Timedout":          "Operation timed out.",
	"RequestCanceled":   "The task was canceled by a user.",
	"NotFound":          "The object or item referred to could not be found.",
	"InvalidArgument":   "A specified parameter was not correct: ",
	"NotSupported":      "The operation is not supported on the object.",
	"CannotAccessFile":  "Unable to access file.",
}

// objectGone is vSphere's text for ManagedObjectNotFound.
const objectGone = "The object 'vim.%s:%s' has already been deleted or has not been completely created"

// faultName is the type of a fault.
func faultName(fault types.BaseMethodFault) string { return reflect.TypeOf(fault).Elem().Name() }

// faultText is vSphere's message for a fault, or its name.
func faultText(fault types.BaseMethodFault) string {
	if f, ok := fault.(*types.ManagedObjectNotFound); ok {
		return fmt.Sprintf(objectGone, f.Obj.Type, f.Obj.Value)
	}
	text, ok := faultTexts[faultName(fault)]
	if !ok {
		return faultName(fault)
	}
	if f, ok := fault.(*types.InvalidPowerState); ok {
		state := map[types.VirtualMachinePowerState]string{
			types.VirtualMachinePowerStatePoweredOn:  "Powered on",
			types.VirtualMachinePowerStatePoweredOff: "Powered off",
			types.VirtualMachinePowerStateSuspended:  "Suspended",
		}[f.ExistingState]
		return fmt.Sprintf(text, state)
	}
	return text
}

var (
	faultType   = regexp.MustCompile(`<detail><\w+Fault [^>]*xsi:type="(\w+)"`)
	faultString = regexp.MustCompile(`<faultstring>[^<]*</faultstring>`)
	faultObject = regexp.MustCompile(`<obj [^>]*type="(\w+)"[^>]*>([^<]*)</obj>`)
	faultPower  = regexp.MustCompile(`<existingState>(\w+)</existingState>`)
)

// withText replaces the faultstring of a SOAP fault by vSphere's text and returns the fault's name.
func withText(answer []byte) (string, []byte) {
	found := faultType.FindSubmatch(answer)
	if found == nil {
		return "", answer
	}
	name := string(found[1])
	fault, err := newFault(name, types.ManagedObjectReference{})
	if err != nil {
		return name, answer
	}
	switch f := fault.(type) {
	case *types.ManagedObjectNotFound:
		if obj := faultObject.FindSubmatch(answer); obj != nil {
			f.Obj = types.ManagedObjectReference{Type: string(obj[1]), Value: string(obj[2])}
		}
	case *types.InvalidPowerState:
		if power := faultPower.FindSubmatch(answer); power != nil {
			f.ExistingState = types.VirtualMachinePowerState(power[1])
		}
	}
	if _, known := faultTexts[name]; !known && name != "ManagedObjectNotFound" {
		return name, answer
	}
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(faultText(fault)))
	return name, faultString.ReplaceAllLiteral(answer, []byte("<faultstring>"+text.String()+"</faultstring>"))
}
