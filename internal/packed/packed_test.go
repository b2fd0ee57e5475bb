package packed

import (
	"testing"

	"pgregory.net/rapid"
)

// TestComesBack writes values of all kinds in any order, and reads them; cut off anywhere, that
// is an error.
func TestComesBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		var reads []func(*Reader) bool
		for range rapid.IntRange(1, 8).Draw(t, "values") {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				v := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
				b = AppendID(b, v)
				reads = append(reads, func(r *Reader) bool { return ID[[16]byte](r) == v })
			case 1:
				v := rapid.Uint64().Draw(t, "uint")
				b = AppendUint(b, v)
				reads = append(reads, func(r *Reader) bool { return r.Uint() == v })
			case 2:
				v := rapid.Int64().Draw(t, "int")
				b = AppendInt(b, v)
				reads = append(reads, func(r *Reader) bool { return r.Int() == v })
			default:
				v := rapid.String().Draw(t, "text")
				b = AppendText(b, v)
				reads = append(reads, func(r *Reader) bool { return r.Text() == v })
			}
		}
		r := NewReader(b)
		for i, read := range reads {
			if !read(r) {
				t.Fatalf("value %d does not come back", i)
			}
		}
		if err := r.End(); err != nil {
			t.Fatal(err)
		}
		r = NewReader(b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")])
		for _, read := range reads {
			read(r)
		}
		if r.End() == nil {
			t.Fatal("it is cut off, and nobody notices")
		}
		if NewReader(append(b, 0)).End() == nil {
			t.Fatal("something is left over, and nobody notices")
		}
	})
}
