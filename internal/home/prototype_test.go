package home

import (
	"testing"

	"hark/internal/capability"
)

func TestPrototypesHoldToTheirCapabilities(t *testing.T) {
	t.Parallel()
	registry := capability.NewRegistry()
	for _, name := range PrototypeNames() {
		p, _ := FindPrototype(name)
		main := p.Components()[0]
		for _, ref := range main.Capabilities {
			if _, ok := registry.Capability(ref.ID); !ok {
				t.Errorf("%s has the unknown capability %s", name, ref.ID)
			}
		}
		for _, a := range p.State() {
			c, _ := registry.Capability(a.Capability)
			if err := c.CheckValue(a.Attribute, a.Value, a.Unit); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if main.Categories[0].Type != "manufacturer" {
			t.Errorf("%s has no manufacturer category, which clients need", name)
		}
	}
	if _, ok := FindPrototype(DefaultPrototype); !ok {
		t.Error("the default prototype does not exist")
	}
}
