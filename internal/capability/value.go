package capability

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Value is a JSON value in canonical text: no spaces, object keys sorted, numbers in their
// shortest form. Two values are equal as JSON exactly when their texts are. The empty Value
// is no value at all.
type Value string

// maxDepth bounds the nesting of values; deeper ones are refused.
const maxDepth = 32

// ParseValue canonicalises one JSON value. It refuses trailing text and deep nesting.
func ParseValue(raw []byte) (Value, error) {
	if plain(raw) {
		return Value(raw), nil
	}
	return parse(raw)
}

// plain reports whether the text is canonical at a glance, as nearly all values are: a short
// integer, a string of ordinary characters, a boolean.
func plain(raw []byte) bool {
	if len(raw) == 0 {
		return false
	}
	switch first := raw[0]; {
	case first == '"':
		if len(raw) < 2 || raw[len(raw)-1] != '"' {
			return false
		}
		for _, c := range raw[1 : len(raw)-1] {
			if c < ' ' || c > '~' || c == '"' || c == '\\' {
				return false
			}
		}
		return true
	case first >= '0' && first <= '9':
		for _, c := range raw[1:] {
			if c < '0' || c > '9' {
				return false
			}
		}
		return len(raw) == 1 || first != '0' && len(raw) <= 15
	}
	return string(raw) == "true" || string(raw) == "false"
}

func parse(raw []byte) (Value, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return "", fmt.Errorf("not a JSON value: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return "", fmt.Errorf("not one JSON value: something follows it")
	}
	return ValueOf(v)
}

// ValueOf returns the canonical text of a decoded JSON value or a plain Go string, bool or
// number.
func ValueOf(v any) (Value, error) {
	canonical, err := canonicalise(v, 0)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(canonical); err != nil {
		return "", fmt.Errorf("not a JSON value: %w", err)
	}
	return Value(strings.TrimSuffix(b.String(), "\n")), nil
}

// String returns the Value of a string.
func String(s string) Value {
	v, err := ValueOf(s)
	if err != nil {
		panic(err) // no string fails
	}
	return v
}

// Number returns the Value of a finite number.
func Number(f float64) Value { return Value(number(strconv.FormatFloat(f, 'g', -1, 64))) }

func canonicalise(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case json.Number:
		return json.RawMessage(number(v.String())), nil
	case float64:
		return json.RawMessage(number(strconv.FormatFloat(v, 'g', -1, 64))), nil
	case int:
		return v, nil
	case []any:
		out := make([]any, len(v)) // what is passed in may be shared
		for i := range v {
			c, err := canonicalise(v[i], depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = c
		}
		return out, nil
	case map[string]any: // encoding/json writes map keys sorted
		out := make(map[string]any, len(v))
		for k := range v {
			c, err := canonicalise(v[k], depth+1)
			if err != nil {
				return nil, err
			}
			out[k] = c
		}
		return out, nil
	}
	return v, nil
}

// number returns the shortest text of a JSON number: 50.0 and 5e1 are 50. Integers that do
// not fit a float64 keep all their digits.
func number(text string) string {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.FormatInt(i, 10)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	if f == float64(int64(f)) && f > -1e15 && f < 1e15 {
		return strconv.FormatInt(int64(f), 10)
	}
	b, err := json.Marshal(f)
	if err != nil {
		return text
	}
	return string(b)
}

// Type returns the JSON type's name as events call it: string, number, boolean, object,
// array or null.
func (v Value) Type() string {
	if v == "" {
		return "null"
	}
	switch v[0] {
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case '{':
		return "object"
	case '[':
		return "array"
	case 'n':
		return "null"
	}
	return "number"
}

// Text returns a string value's content, and any other value's JSON text. It is how a
// subscription value given as a string ("50") is compared with a number or boolean.
func (v Value) Text() string {
	if v.Type() == "string" {
		var s string
		if json.Unmarshal([]byte(v), &s) == nil {
			return s
		}
	}
	return string(v)
}

// MarshalJSON writes the value itself; no value is null.
func (v Value) MarshalJSON() ([]byte, error) {
	if v == "" {
		return []byte("null"), nil
	}
	return []byte(v), nil
}

// UnmarshalJSON canonicalises what it reads; null is no value.
func (v *Value) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*v = ""
		return nil
	}
	c, err := ParseValue(raw)
	if err != nil {
		return err
	}
	*v = c
	return nil
}

// decoded returns the Go form: string, float64, bool, []any, map[string]any or nil.
func (v Value) decoded() any {
	var x any
	if json.Unmarshal([]byte(v), &x) != nil {
		return nil
	}
	return x
}
