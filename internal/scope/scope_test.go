package scope

import (
	"strings"
	"testing"

	"hark/internal/id"
	"hark/internal/problem"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		grant, need string
		want        bool
	}{
		{"r:devices:*", "r:devices:*", true},
		{"r:devices:*", "r:devices:D1", true},
		{"r:devices", "r:devices:D1", true}, // a missing filter is "*"
		{"r:devices", "r:devices:*", true},
		{"r:devices:D1", "r:devices:D1", true},
		{"r:devices:D1", "r:devices:D2", false},
		{"r:devices:D1", "r:devices:*", false},
		{"r:devices:D1", "r:devices:*:switch", false},
		{"r:devices:*", "r:devices:*:switch", true},
		{"r:devices:*:switch", "r:devices:*:switch", true},
		{"r:devices:*:switch", "r:devices:*", false},
		{"r:devices:*:switch", "r:devices:D1", false},
		{"r:devices:*:switch", "r:devices:D1:switch", true},
		{"w:devices:*", "r:devices:D1", false},
		{"r:locations:*", "r:devices:D1", false},
		{"r:hubs:*", "r:hubs", true},
		{"r:hubs", "r:hubs:*", true},
		{"r:security:locations:*:armstate", "r:security:locations:L1:armstate", true},
		{"r:security:locations:L2:armstate", "r:security:locations:L1:armstate", false},
		{"r:devices:$", "r:devices:D1", false}, // "$" must be replaced by ids first
		{"r:devices:$", "r:devices:$", false},
		{"r:devices:D1", "r:devices:$", true}, // any one device
		{"r:devices:*", "r:devices:$", true},
		{"r:devices", "r:devices:$", true},
		{"x:devices:D1", "r:devices:$", false},
		{"r:devices:D1:switch", "r:devices:$", false},
		{"r", "r:devices:D1", false},
		{"*", "r:devices:D1", false},
		{"r:*", "r:devices:D1", false},
		{"sse", "sse", true},
		{"controller:stCli", "controller:stCli", true},
		{"controller:stCli", "controller:other", false},
	} {
		if got := Scope(c.grant).Covers(Scope(c.need)); got != c.want {
			t.Errorf("%q covers %q: %v, want %v", c.grant, c.need, got, c.want)
		}
	}
}

func TestOffersWhatTheUserMaySelect(t *testing.T) {
	t.Parallel()
	d := id.New[id.Device]()
	if set := (Set{"r:devices:$"}); !set.Offers(Device("r", d)) || set.Offers("r:devices:*") || set.Offers(Device("x", d)) {
		t.Error("r:devices:$ offers r of single devices, and nothing else")
	}
	one, ok := Scope("x:devices:$").Selected(d)
	if want := Device("x", d); !ok || one != want {
		t.Errorf("x:devices:$ for a device is %q, %v; want %q", one, ok, want)
	}
}

func TestRequireNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	p := Principal{Name: "door watch", InstalledApp: id.New[id.InstalledApp](), Scopes: Set{"r:locations:*"}}
	if err := p.Require("r:devices:*", "r:locations:L1"); err != nil {
		t.Errorf("one of two is held, yet: %v", err)
	}
	err := p.Require("r:devices:*", "r:devices:*:switch")
	if problem.KindOf(err) != problem.Denied {
		t.Fatalf("%v is no denial", err)
	}
	for _, part := range []string{"r:devices:* or r:devices:*:switch", "door watch", "r:locations:*", p.InstalledApp.String()} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range All {
		f.Add(string(s))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		if covers := s.Covers(s); covers == strings.Contains(text, "$") {
			t.Errorf("%q covers itself: %v", s, covers)
		}
		if strings.Count(text, ":") == 0 && s.Covers(s+":x:y") {
			t.Errorf("%q covers a resource that it does not name", s)
		}
	})
}
