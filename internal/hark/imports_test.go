package hark

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport lists which of our packages each may import. It is policy, widened on purpose
// only: the edge imports the core, the core the store, all of them the pure packages; never
// back, and never sideways at the edge.
var mayImport = map[string]string{
	"cmd/hark": "internal/hark internal/certs internal/torture internal/bench",
	"e2e":      "internal/process internal/certs internal/torture internal/engine/enginetest",
	// examples are for copying: nothing of ours
	"examples/receiver": "",
	"internal/process":  "",
	"internal/torture":  "internal/process",
	"internal/bench":    "internal/process internal/engine internal/subscription internal/capability internal/event internal/id",
	// wiring
	"internal/hark": "internal/appcall internal/certs internal/console internal/directory internal/engine internal/home internal/httpapi internal/id internal/installer internal/journal internal/lifecycle internal/limits internal/scope internal/shard internal/telemetry",
	// edge
	"internal/httpapi":   "internal/telemetry internal/attempts internal/lifecycle internal/shard internal/delivery internal/directory internal/schedule " + pure,
	"internal/installer": "internal/lifecycle internal/shard internal/directory internal/pages " + pure,
	"internal/pages":     "internal/shard " + pure,
	"internal/console":   "internal/pages internal/lifecycle internal/shard internal/delivery internal/directory " + pure,
	// core
	"internal/lifecycle": "internal/shard internal/directory internal/appcall " + pure,
	"internal/shard":     "internal/telemetry internal/attempts internal/delivery internal/directory internal/journal internal/records internal/engine internal/appcall internal/schedule " + pure,
	"internal/delivery":  "internal/telemetry internal/attempts internal/appcall " + pure,
	"internal/certs":     "",
	"internal/schedule":  "internal/id internal/problem",
	"internal/directory": "internal/records internal/engine " + pure,
	"internal/appcall":   "internal/telemetry " + pure,
	// store
	"internal/journal":           "internal/engine internal/event internal/id",
	"internal/records":           "internal/engine",
	"internal/attempts":          "internal/engine internal/id internal/jsontext",
	"internal/engine":            "internal/telemetry",
	"internal/telemetry":         "",
	"internal/engine/enginetest": "internal/engine",
	// pure
	"internal/limits":        "internal/problem",
	"internal/configuration": "internal/apps internal/home internal/id internal/problem",
	"internal/subscription":  "internal/capability internal/event internal/id internal/packed internal/problem internal/scope",
	"internal/eventstream":   "internal/event internal/id internal/scope",
	"internal/envelope":      "internal/apps internal/id internal/scope",
	"internal/event":         "internal/capability internal/id internal/jsontext internal/packed internal/scope",
	"internal/apps":          "internal/id internal/problem internal/scope internal/signature",
	"internal/home":          "internal/capability internal/id",
	"internal/capability":    "internal/problem",
	"internal/scope":         "internal/id internal/problem",
	"internal/signature":     "",
	"internal/problem":       "",
	"internal/jsontext":      "",
	"internal/packed":        "",
	"internal/id":            "",
}

const pure = "internal/configuration internal/limits internal/eventstream internal/subscription internal/envelope internal/event internal/apps internal/home internal/capability internal/scope internal/signature internal/problem internal/id"

// TestImports holds the direction of imports, and that only the engine sees NATS.
func TestImports(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "hark/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], "hark/")
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s is not in mayImport: say there what it may import", name)
		}
		for _, imported := range fields[1:] {
			if ours, ok := strings.CutPrefix(imported, "hark/"); ok && !slices.Contains(strings.Fields(allowed), ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
			if strings.HasPrefix(imported, "github.com/nats-io/") && !strings.HasPrefix(name, "internal/engine") {
				t.Errorf("%s must not import %s: only the engine sees NATS", name, imported)
			}
			if slices.Contains(strings.Fields(pure), name) && strings.Contains(imported, ".") {
				t.Errorf("%s is pure and must not import %s", name, imported)
			}
		}
	}
}
