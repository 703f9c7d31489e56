// strict-decode reads manifests as KubeVirt v1.6.0 would and prints a line for everything that it would refuse.
//
//	strict-decode FILE...    a file may have several YAML documents; without FILE: standard input
//
// Exit 0: no errors. 1: errors, one per line as FILE[DOCUMENT]: FIELD: WHAT. 2: a file cannot be read.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	v1 "kubevirt.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	exitFaults     = 1
	exitUnreadable = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(names []string, stdin io.Reader, out, errs io.Writer) int {
	if len(names) == 0 {
		return report(out, check("<stdin>", stdin))
	}
	var faults []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(errs, err)
			return exitUnreadable
		}
		faults = append(faults, check(name, bytes.NewReader(text))...)
	}
	return report(out, faults)
}

func report(out io.Writer, faults []string) int {
	for _, fault := range faults {
		fmt.Fprintln(out, fault)
	}
	if len(faults) > 0 {
		return exitFaults
	}
	return 0
}

// check returns the errors of every document of a stream; a stream without any document is an error.
func check(name string, stream io.Reader) []string {
	var faults []string
	found := 0
	documents := utilyaml.NewYAMLReader(bufio.NewReader(stream))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return append(faults, fmt.Sprintf("%s: %v", name, err))
		}
		if empty(text) {
			continue
		}
		for _, fault := range checkDocument(text) {
			faults = append(faults, fmt.Sprintf("%s[%d]: %s", name, found, fault))
		}
		found++
	}
	if found == 0 {
		faults = append(faults, name+": no document")
	}
	return faults
}

// empty detects a document that contains only comments.
func empty(text []byte) bool {
	var value any
	return yaml.Unmarshal(text, &value) == nil && value == nil
}

// checkDocument decodes as the API server does with fieldValidation=Strict: field names in their exact case, no unknown
// and no duplicate names (apimachinery pkg/runtime/serializer/json/json.go).
func checkDocument(text []byte) []string {
	document, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return []string{oneLine(err)}
	}
	var machine v1.VirtualMachine
	if err := json.Unmarshal(document, &machine); err != nil {
		return []string{oneLine(err)}
	}
	faults := strict("", document, &v1.VirtualMachine{})
	var part struct {
		Spec struct {
			Template struct{ Spec json.RawMessage }
		}
	}
	if json.Unmarshal(document, &part) == nil && part.Spec.Template.Spec != nil {
		faults = append(faults, strictInstance("spec.template.spec", part.Spec.Template.Spec)...)
	}
	return append(faults, refusals(&machine)...)
}

// These types decode themselves leniently, including all nested fields (kubevirt.io/api core/v1/types.go, schema.go);
// without their methods they decode strictly.
type (
	instanceSpec v1.VirtualMachineInstanceSpec
	podNetwork   v1.PodNetwork
	dhcpOptions  v1.DHCPOptions
)

func strictInstance(where string, document []byte) []string {
	faults := strict(where+".", document, &instanceSpec{})
	var part struct {
		Networks []struct{ Pod json.RawMessage }
		Domain   struct {
			Devices struct {
				Interfaces []struct{ DhcpOptions json.RawMessage }
			}
		}
	}
	if json.Unmarshal(document, &part) != nil {
		return faults
	}
	for index, network := range part.Networks {
		if network.Pod != nil {
			faults = append(faults, strict(fmt.Sprintf("%s.networks[%d].pod.", where, index), network.Pod, &podNetwork{})...)
		}
	}
	for index, nic := range part.Domain.Devices.Interfaces {
		if nic.DhcpOptions != nil {
			path := fmt.Sprintf("%s.domain.devices.interfaces[%d].dhcpOptions.", where, index)
			faults = append(faults, strict(path, nic.DhcpOptions, &dhcpOptions{})...)
		}
	}
	return faults
}

// strict returns the unknown fields of a document that decodes; where is the prefix of their paths.
func strict(where string, document []byte, into any) []string {
	found, err := kjson.UnmarshalStrict(document, into)
	if err != nil {
		found = append(found, err)
	}
	var faults []string
	for _, fault := range found {
		if at, ok := fault.(kjson.FieldError); ok {
			at.SetFieldPath(where + at.FieldPath())
		}
		faults = append(faults, oneLine(fault))
	}
	return faults
}

func oneLine(err error) string {
	return string(bytes.Join(bytes.Fields([]byte(err.Error())), []byte(" ")))
}
