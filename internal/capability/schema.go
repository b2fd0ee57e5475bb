package capability

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Schema is the part of JSON Schema that capability definitions use for values. The zero
// Schema accepts everything.
type Schema struct {
	Type                 string            `json:"type,omitempty"` // string, number, integer, boolean, object, array
	Title                string            `json:"title,omitempty"`
	Enum                 []any             `json:"enum,omitempty"`
	Minimum              *float64          `json:"minimum,omitempty"`
	Maximum              *float64          `json:"maximum,omitempty"`
	MinLength            *int              `json:"minLength,omitempty"`
	MaxLength            *int              `json:"maxLength,omitempty"`
	Pattern              string            `json:"pattern,omitempty"`
	Items                *Schema           `json:"items,omitempty"`
	MinItems             *int              `json:"minItems,omitempty"`
	MaxItems             *int              `json:"maxItems,omitempty"`
	Properties           map[string]Schema `json:"properties,omitempty"`
	AdditionalProperties *bool             `json:"additionalProperties,omitempty"`
	Required             []string          `json:"required,omitempty"`
	Default              any               `json:"default,omitempty"`
}

// types are the schema types that exist.
var types = []string{"", "string", "number", "integer", "boolean", "object", "array"}

// check reports what is wrong with the schema itself, at any depth.
func (s Schema) check(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	if !slices.Contains(types, s.Type) {
		return fmt.Errorf("unknown type %q; it is one of string, number, integer, boolean, object, array", s.Type)
	}
	if s.Pattern != "" {
		if _, err := regexp.Compile(s.Pattern); err != nil {
			return fmt.Errorf("pattern: %w", err)
		}
	}
	if s.Items != nil {
		if err := s.Items.check(depth + 1); err != nil {
			return fmt.Errorf("items: %w", err)
		}
	}
	for name, p := range s.Properties {
		if err := p.check(depth + 1); err != nil {
			return fmt.Errorf("properties.%s: %w", name, err)
		}
	}
	return nil
}

// Check returns nil when the value satisfies the schema, else a sentence with the value
// and what would be right.
func (s Schema) Check(v Value) error { return s.checkDecoded(v.decoded(), v) }

func (s Schema) checkDecoded(x any, shown Value) error {
	if err := s.checkType(x, shown); err != nil {
		return err
	}
	if len(s.Enum) > 0 && !slices.ContainsFunc(s.Enum, func(e any) bool { return equalScalar(e, x) }) {
		return fmt.Errorf("%s is not one of %s", brief(shown), list(s.Enum))
	}
	switch x := x.(type) {
	case float64:
		if s.Minimum != nil && x < *s.Minimum {
			return fmt.Errorf("%s is below the minimum of %v", brief(shown), *s.Minimum)
		}
		if s.Maximum != nil && x > *s.Maximum {
			return fmt.Errorf("%s is above the maximum of %v", brief(shown), *s.Maximum)
		}
	case string:
		return s.checkString(x)
	case []any:
		return s.checkItems(x)
	case map[string]any:
		return s.checkProperties(x)
	}
	return nil
}

func (s Schema) checkType(x any, shown Value) error {
	ok := true
	switch s.Type {
	case "string":
		_, ok = x.(string)
	case "number":
		_, ok = x.(float64)
	case "integer":
		f, isNumber := x.(float64)
		ok = isNumber && f == math.Trunc(f)
	case "boolean":
		_, ok = x.(bool)
	case "object":
		_, ok = x.(map[string]any)
	case "array":
		_, ok = x.([]any)
	}
	if !ok {
		return fmt.Errorf("%s is a %s, the definition wants type %s", brief(shown), shown.Type(), s.Type)
	}
	return nil
}

func (s Schema) checkString(x string) error {
	n := utf8.RuneCountInString(x)
	if s.MinLength != nil && n < *s.MinLength {
		return fmt.Errorf("has %d characters, the minimum is %d", n, *s.MinLength)
	}
	if s.MaxLength != nil && n > *s.MaxLength {
		return fmt.Errorf("has %d characters, the maximum is %d", n, *s.MaxLength)
	}
	if s.Pattern != "" {
		if re, err := regexp.Compile(s.Pattern); err == nil && !re.MatchString(x) {
			return fmt.Errorf("%.60q does not match %s", x, s.Pattern)
		}
	}
	return nil
}

func (s Schema) checkItems(x []any) error {
	if s.MinItems != nil && len(x) < *s.MinItems {
		return fmt.Errorf("has %d items, the minimum is %d", len(x), *s.MinItems)
	}
	if s.MaxItems != nil && len(x) > *s.MaxItems {
		return fmt.Errorf("has %d items, the maximum is %d", len(x), *s.MaxItems)
	}
	if s.Items == nil {
		return nil
	}
	for i, item := range x {
		if err := s.Items.checkAny(item); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return nil
}

func (s Schema) checkProperties(x map[string]any) error {
	for _, name := range s.Required {
		if _, ok := x[name]; !ok {
			return fmt.Errorf("lacks the property %q", name)
		}
	}
	for name, item := range x {
		p, ok := s.Properties[name]
		if !ok {
			if s.AdditionalProperties != nil && !*s.AdditionalProperties {
				return fmt.Errorf("has the property %.60q, which the definition does not know", name)
			}
			continue
		}
		if err := p.checkAny(item); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s Schema) checkAny(x any) error {
	shown, err := ValueOf(x)
	if err != nil {
		return err
	}
	return s.checkDecoded(x, shown)
}

// equalScalar compares an enum entry with a decoded value.
func equalScalar(a, b any) bool {
	va, errA := ValueOf(a)
	vb, errB := ValueOf(b)
	return errA == nil && errB == nil && va == vb
}

func brief(v Value) string {
	if len(v) > 80 {
		return string(v[:77]) + "..."
	}
	return string(v)
}

func list(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		c, _ := ValueOf(v)
		texts[i] = string(c)
	}
	return strings.Join(texts, ", ")
}
