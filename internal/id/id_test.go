package id

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const dashed = "736e3903-001c-4d40-b408-ff40d162a06b"
	for _, text := range []string{dashed, strings.ToUpper(dashed), strings.ReplaceAll(dashed, "-", "")} {
		d, err := Parse[Device](text)
		if err != nil || d.String() != dashed {
			t.Errorf("Parse(%q) = %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "x", dashed[1:], dashed + "0", strings.Replace(dashed, "7", "g", 1), strings.Replace(dashed, "-", "0", 1)} {
		if d, err := Parse[Device](text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, d)
		}
	}
}

func TestNewIsAVersion4UUID(t *testing.T) {
	t.Parallel()
	a, b := New[Event](), New[Event]()
	if a == b || a.IsZero() {
		t.Errorf("two new ids are %v and %v", a, b)
	}
	if s := a.String(); s[14] != '4' || !strings.ContainsRune("89ab", rune(s[19])) {
		t.Errorf("%s is no version 4 UUID", s)
	}
}

func TestZeroIDIsEmptyText(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(map[string]Room{"r": {}})
	if err != nil || string(b) != `{"r":""}` {
		t.Fatalf("a zero id is %s, %v", b, err)
	}
	var back map[string]Room
	if err := json.Unmarshal(b, &back); err != nil || !back["r"].IsZero() {
		t.Errorf("it comes back as %v, %v", back, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("736e3903-001c-4d40-b408-ff40d162a06b")
	f.Add("736e3903001c4d40b408ff40d162a06b")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse[Device](text)
		if err != nil {
			return
		}
		if again, err := Parse[Device](d.String()); err != nil || again != d {
			t.Errorf("%q parses to %v, which does not parse back: %v, %v", text, d, again, err)
		}
	})
}
