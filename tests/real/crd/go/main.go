// crd-check checks CustomResourceDefinitions and objects with the API server's own code, without a running server.
//
//	crd-check CRDS                  are the definitions valid, and their schemas structural? one line per error
//	crd-check CRDS < OBJECTS        in addition: the result for each object of the YAML stream
//
// For each object it prints one line of JSON: {"kind", "name", "errors": [...], "pruned": [...], "object": {...}}, with
// the object as it would be stored. "pruned" are fields that kubectl's strict validation refuses and other clients lose.
// Exit 0: the definitions are valid. 1: they are not. 2: something cannot be read.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

type judge struct {
	structural *structuralschema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator // of x-kubernetes-validations; nil without any
}

type verdict struct {
	Kind   string         `json:"kind"`
	Name   string         `json:"name"`
	Errors []string       `json:"errors"`
	Pruned []string       `json:"pruned"`
	Object map[string]any `json:"object"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crd-check CRDS [< OBJECTS]")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	fail(err)
	judges := map[string]judge{}
	faults := 0
	fail(each(file, func(text []byte) error { return learn(text, judges, &faults) }))
	if faults > 0 {
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	fail(each(os.Stdin, func(text []byte) error { return out.Encode(try(text, judges)) }))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// each calls a function for every document of a YAML stream that is not empty.
func each(stream io.Reader, take func([]byte) error) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(stream))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			return err
		}
		if value == nil {
			continue
		}
		if err := take(text); err != nil {
			return err
		}
	}
}

// learn reads a definition as the API server would (apiextensions-apiserver pkg/registry/customresourcedefinition).
func learn(text []byte, judges map[string]judge, faults *int) error {
	var given v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &given); err != nil {
		return err
	}
	v1.SetDefaults_CustomResourceDefinition(&given)
	v1.SetDefaults_CustomResourceDefinitionSpec(&given.Spec)
	// The API server sets this at creation and validates it afterwards.
	given.Status.StoredVersions = []string{given.Spec.Versions[0].Name}
	var crd apiextensions.CustomResourceDefinition
	if err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&given, &crd, nil); err != nil {
		return err
	}
	for _, fault := range crdvalidation.ValidateCustomResourceDefinition(context.Background(), &crd) {
		fmt.Printf("%s: %v\n", crd.Name, fault)
		*faults++
	}
	made, err := judgeOf(&given)
	if err != nil {
		return err
	}
	judges[crd.Spec.Names.Kind] = made
	return nil
}

func judgeOf(given *v1.CustomResourceDefinition) (judge, error) {
	var schema apiextensions.JSONSchemaProps
	from := given.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(from, &schema, nil); err != nil {
		return judge{}, err
	}
	structural, err := structuralschema.NewStructural(&schema)
	if err != nil {
		return judge{}, err
	}
	validator, _, err := validation.NewSchemaValidator(&schema)
	return judge{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, err
}

func try(text []byte, judges map[string]judge) verdict {
	var object map[string]any
	body, err := yaml.YAMLToJSON(text)
	if err == nil {
		err = utiljson.Unmarshal(body, &object) // whole numbers are int64, as in the API server
	}
	if err != nil {
		return verdict{Errors: []string{err.Error()}}
	}
	kind, _ := object["kind"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	made := verdict{Kind: kind, Name: name, Errors: []string{}, Pruned: []string{}, Object: object}
	by, known := judges[kind]
	if !known {
		made.Errors = append(made.Errors, "no definition of kind "+kind)
		return made
	}
	options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	made.Pruned = append(made.Pruned, pruning.PruneWithOptions(object, by.structural, true, options)...)
	for _, fault := range validation.ValidateCustomResource(nil, object, by.validator) {
		made.Errors = append(made.Errors, fault.Error())
	}
	// As the API server does, only for an object whose types are right.
	if by.rules != nil && len(made.Errors) == 0 {
		faults, _ := by.rules.Validate(
			context.Background(), nil, by.structural, object, nil, celconfig.RuntimeCELCostBudget)
		for _, fault := range faults {
			made.Errors = append(made.Errors, fault.Error())
		}
	}
	return made
}
