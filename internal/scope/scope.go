// Package scope is the grammar of permissions (reference 6.3): what a token or an
// installed app may do, written as permission:resource:filter, and the question whether
// a grant covers a need. It is pure and decides nothing else.
package scope

import (
	"fmt"
	"slices"
	"strings"

	"hark/internal/id"
	"hark/internal/problem"
)

// Scope is one permission, such as "r:devices:*" or "r:security:locations:*:armstate".
// Words such as "sse" and "controller:stCli" are scopes without a filter.
type Scope string

// maxLength bounds a scope; the longest that the platform knows has 74 characters.
const maxLength = 160

// Parse reports what is wrong with the text as a scope, or returns it.
func Parse(text string) (Scope, error) {
	if text == "" || len(text) > maxLength {
		return "", fmt.Errorf("a scope has 1 to %d characters, this one has %d", maxLength, len(text))
	}
	for _, r := range text {
		if r <= ' ' || r > '~' || r == '"' || r == '\\' {
			return "", fmt.Errorf("%q holds %q, which no scope can", text, r)
		}
	}
	if slices.Contains(strings.Split(text, ":"), "") {
		return "", fmt.Errorf("%q has an empty part; a scope is permission:resource:filter", text)
	}
	return Scope(text), nil
}

// Covers reports whether holding s satisfies the need. A missing or "*" part of s covers
// anything in that place; "$" (the ones that the user selects) covers nothing by itself:
// it is replaced by ids when an app is installed. A need with "$" is for any one of them, so
// whatever else s has in its place covers it.
func (s Scope) Covers(need Scope) bool {
	gs, ns := string(s), string(need)
	if gs == ns {
		return !strings.Contains(gs, "$")
	}
	for part := 0; gs != "" || ns != ""; part++ {
		var gp, np string
		gp, gs, _ = strings.Cut(gs, ":")
		np, ns, _ = strings.Cut(ns, ":")
		if gp == np {
			continue
		}
		anything := gp == "" || gp == "*" || np == "$" && gp != "$"
		if part < 2 || !anything { // permission and resource must be the very same
			return false
		}
	}
	return true
}

// Selected reports whether s stands for "the ones that the user selects", and returns the
// scope for one of them.
func (s Scope) Selected(device id.Device) (Scope, bool) {
	prefix, ok := strings.CutSuffix(string(s), ":$")
	if !ok {
		return "", false
	}
	return Scope(prefix + ":" + device.String()), true
}

// Set is a list of scopes held together.
type Set []Scope

// ParseSet parses each text; the error names the first bad one.
func ParseSet(texts []string) (Set, error) {
	set := make(Set, 0, len(texts))
	for i, t := range texts {
		s, err := Parse(t)
		if err != nil {
			return nil, problem.Field(fmt.Sprintf("scope[%d]", i), "PatternError", "%v", err)
		}
		if !slices.Contains(set, s) {
			set = append(set, s)
		}
	}
	return set, nil
}

// Covers reports whether one of the set covers the need.
func (set Set) Covers(need Scope) bool {
	for _, s := range set {
		if s.Covers(need) {
			return true
		}
	}
	return false
}

// Offers reports whether an app that registered the set may be granted s: it is covered,
// or the set holds its "$" form.
func (set Set) Offers(s Scope) bool {
	if set.Covers(s) || slices.Contains(set, s) {
		return true
	}
	parts := strings.Split(string(s), ":")
	if len(parts) < 3 || parts[2] == "*" {
		return false
	}
	parts[2] = "$"
	return slices.Contains(set, Scope(strings.Join(parts, ":")))
}

// Strings returns the scopes as plain strings, never nil.
func (set Set) Strings() []string {
	out := make([]string, len(set))
	for i, s := range set {
		out[i] = string(s)
	}
	return out
}

// Device is the scope "verb:devices:id", verb being r, w, x or l.
func Device(verb string, device id.Device) Scope {
	return Scope(verb + ":devices:" + device.String())
}

// ArmState is the scope "verb:security:locations:id:armstate".
func ArmState(verb string, location id.Location) Scope {
	return Scope(verb + ":security:locations:" + location.String() + ":armstate")
}

// Location is the scope "verb:locations:id".
func Location(verb string, location id.Location) Scope {
	return Scope(verb + ":locations:" + location.String())
}

// All is what the owner of a home may do; a personal token made without a list has it.
var All = Set{
	"r:devices:*", "w:devices:*", "x:devices:*", "l:devices", "r:hubs:*", "r:deviceprofiles", "w:deviceprofiles",
	"r:locations:*", "w:locations:*", "x:locations:*", "r:scenes:*", "w:scenes:*", "x:scenes:*", "r:rules:*", "w:rules:*",
	"r:installedapps:*", "w:installedapps:*", "r:apps:*", "w:apps:*", "r:schedules", "w:schedules",
	"r:customcapability", "w:customcapability", "r:security:locations:*:armstate", "w:security:locations:*:armstate",
	"sse", "w:hark",
}

// Person is what a person may do who has an account on a server that is not their own: all but
// to administer it.
var Person = slices.DeleteFunc(slices.Clone(All), func(s Scope) bool { return s == "w:hark" })
