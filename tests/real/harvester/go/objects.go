package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	harvesterv1 "github.com/harvester/harvester/pkg/apis/harvesterhci.io/v1beta1"
	"github.com/harvester/harvester/pkg/settings"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"kubevirt.io/containerized-data-importer/pkg/operator/resources"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	"sigs.k8s.io/yaml"
)

// objects prints what virt-operator, CDI's operator and Harvester's server would make when they are installed.
func objects(context.Context, *given) error {
	out := json.NewEncoder(os.Stdout)
	for _, make := range []func() (*extv1.CustomResourceDefinition, error){
		components.NewVirtualMachineCrd,
		components.NewVirtualMachineInstanceCrd,
		components.NewVirtualMachineInstanceMigrationCrd,
		components.NewKubeVirtCrd,
	} {
		definition, err := make()
		if err != nil {
			return err
		}
		if err := out.Encode(definition); err != nil {
			return err
		}
	}
	for _, name := range []string{"cdi", "cdiconfig", "datavolume", "storageprofile"} {
		var definition extv1.CustomResourceDefinition
		if err := yaml.Unmarshal([]byte(resources.CDICRDs[name]), &definition); err != nil {
			return fmt.Errorf("definition of %s: %w", name, err)
		}
		if err := out.Encode(&definition); err != nil {
			return err
		}
	}
	return settings.SetProvider(printed{out})
}

// printed is where Harvester's server would have the cluster's settings: it prints their defaults.
type printed struct{ out *json.Encoder }

func (p printed) SetAll(all map[string]settings.Setting) error {
	for _, one := range all {
		setting := harvesterv1.Setting{
			TypeMeta:   metav1.TypeMeta{APIVersion: harvesterv1.SchemeGroupVersion.String(), Kind: "Setting"},
			ObjectMeta: metav1.ObjectMeta{Name: one.Name},
			Default:    one.Default,
		}
		if one.Name == settings.ServerVersionSettingName {
			setting.Default = version()
		}
		if err := p.out.Encode(&setting); err != nil {
			return err
		}
	}
	return nil
}

func (printed) Get(string) string               { return "" }
func (printed) Set(string, string) error        { return nil }
func (printed) SetIfUnset(string, string) error { return nil }

// version is that of the module, which a release writes into its server when it is built.
func version() string {
	if found, ok := debug.ReadBuildInfo(); ok {
		for _, one := range found.Deps {
			if one.Path == "github.com/harvester/harvester" {
				return one.Version
			}
		}
	}
	return "dev"
}
