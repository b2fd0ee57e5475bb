// Package jsontext writes texts as JSON for what is written by hand because there is so much of it.
// All else is for encoding/json.
package jsontext

import "encoding/json"

// Append appends the text as a JSON string, as encoding/json would write it.
func Append(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("jsontext: " + err.Error()) // every text marshals
			}
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
