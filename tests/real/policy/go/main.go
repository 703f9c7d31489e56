// policy-check evaluates ValidatingAdmissionPolicies with the API server's own code, without a running server.
//
//	policy-check POLICIES < REQUESTS
//
// POLICIES is a YAML stream; other kinds in it are ignored. REQUESTS has one JSON object on each line: "user", "extra"
// (lists of strings by key), "operation", "group", "version", "resource", "kind", "namespace", "name", "object" and
// "oldObject". For each request it prints one line: {"denied": [MESSAGE...]}, with a message for each validation that
// fails. The user has no right that an expression could ask for.
// Exit 0: every request was judged. 1: an expression of a policy cannot be compiled. 2: something cannot be read.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

type policy struct {
	given     *v1.ValidatingAdmissionPolicy
	validator validating.Validator
}

type request struct {
	User      string              `json:"user"`
	Extra     map[string][]string `json:"extra"`
	Operation string              `json:"operation"`
	Group     string              `json:"group"`
	Version   string              `json:"version"`
	Resource  string              `json:"resource"`
	Kind      string              `json:"kind"`
	Namespace string              `json:"namespace"`
	Name      string              `json:"name"`
	Object    map[string]any      `json:"object"`
	OldObject map[string]any      `json:"oldObject"`
}

type verdict struct {
	Denied []string `json:"denied"`
}

type nobody struct{}

func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionNoOpinion, "", nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: policy-check POLICIES < REQUESTS")
		os.Exit(2)
	}
	file, err := os.Open(os.Args[1])
	fail(err)
	policies, faults := read(file)
	for _, fault := range faults {
		fmt.Fprintln(os.Stderr, fault)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var given request
		if err := in.Decode(&given); errors.Is(err, io.EOF) {
			return
		} else {
			fail(err)
		}
		fail(out.Encode(judge(policies, given)))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// read compiles the policies of a YAML stream, as plugin/policy/validating/plugin.go does.
func read(stream io.Reader) ([]policy, []error) {
	var policies []policy
	var faults []error
	documents := utilyaml.NewYAMLReader(bufio.NewReader(stream))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return policies, faults
		}
		fail(err)
		var kind metav1.TypeMeta
		fail(yaml.Unmarshal(text, &kind))
		if kind.Kind != "ValidatingAdmissionPolicy" {
			continue
		}
		given := &v1.ValidatingAdmissionPolicy{}
		fail(yaml.UnmarshalStrict(text, given))
		made, found := compiled(given)
		policies, faults = append(policies, policy{given, made}), append(faults, found...)
	}
}

func compiled(given *v1.ValidatingAdmissionPolicy) (validating.Validator, []error) {
	declared := cel.OptionalVariableDeclarations{HasAuthorizer: true, StrictCost: true}
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), true)
	template, err := cel.NewCompositionEnv(cel.VariablesTypeName, base)
	fail(err)
	compiler := cel.NewCompositedCompilerFromTemplate(template)
	var faults []error
	for _, one := range given.Spec.Variables {
		variable := &validating.Variable{Name: one.Name, Expression: one.Expression}
		if made := compiler.CompileAndStoreVariable(variable, declared, environment.NewExpressions); made.Error != nil {
			faults = append(faults, fmt.Errorf("%s: variable %s: %v", given.Name, one.Name, made.Error))
		}
	}
	compile := func(all []cel.ExpressionAccessor) cel.ConditionEvaluator {
		made := compiler.CompileCondition(all, declared, environment.NewExpressions)
		for _, fault := range made.CompilationErrors() {
			faults = append(faults, fmt.Errorf("%s: %w", given.Name, fault))
		}
		return made
	}
	var conditions, validations []cel.ExpressionAccessor
	for i := range given.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&given.Spec.MatchConditions[i]))
	}
	for _, one := range given.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: one.Expression, Message: one.Message})
	}
	failure := given.Spec.FailurePolicy
	matcher := matchconditions.NewMatcher(compile(conditions), failure, "policy", "validate", given.Name)
	return validating.NewValidator(compile(validations), matcher, compile(nil), compile(nil), failure), faults
}

func judge(policies []policy, given request) verdict {
	made := verdict{Denied: []string{}}
	info := &user.DefaultInfo{Name: given.User, Extra: given.Extra}
	kind := schema.GroupVersionKind{Group: given.Group, Version: given.Version, Kind: given.Kind}
	resource := schema.GroupVersionResource{Group: given.Group, Version: given.Version, Resource: given.Resource}
	attributes := admission.NewAttributesRecord(object(given.Object), object(given.OldObject), kind, given.Namespace,
		given.Name, resource, "", admission.Operation(given.Operation), nil, false, info)
	versioned := &admission.VersionedAttributes{
		Attributes: attributes, VersionedKind: kind,
		VersionedObject: object(given.Object), VersionedOldObject: object(given.OldObject),
	}
	for _, one := range policies {
		if !matches(one.given, attributes) {
			continue
		}
		space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: given.Namespace}}
		result := one.validator.Validate(context.Background(), resource, versioned, nil, space,
			celconfig.RuntimeCELCostBudget, nobody{})
		for _, decision := range result.Decisions {
			if decision.Action == validating.ActionDeny {
				made.Denied = append(made.Denied, decision.Message)
			}
		}
	}
	return made
}

// object is nil for a missing object, so that an expression sees null.
func object(given map[string]any) runtime.Object {
	if given == nil {
		return nil
	}
	return &unstructured.Unstructured{Object: given}
}

// matches judges matchConstraints: the rules and the selector of namespaces, which here knows only their names.
func matches(given *v1.ValidatingAdmissionPolicy, attributes admission.Attributes) bool {
	constraints := given.Spec.MatchConstraints
	if constraints.NamespaceSelector != nil {
		selector, err := metav1.LabelSelectorAsSelector(constraints.NamespaceSelector)
		fail(err)
		if !selector.Matches(labels.Set{corev1.LabelMetadataName: attributes.GetNamespace()}) {
			return false
		}
	}
	for _, one := range constraints.ResourceRules {
		matcher := rules.Matcher{Rule: one.RuleWithOperations, Attr: attributes}
		if matcher.Matches() {
			return true
		}
	}
	return false
}
