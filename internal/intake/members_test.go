package intake

import (
	"slices"
	"testing"
)

// What flatMembers reads, it reads as the decoder does.
func FuzzFlatMembers(f *testing.F) {
	for _, text := range []string{
		`{"out_order_no":"BIKE-1","at":"2026-01-02T10:00:00+08:00","amount":1250}`, ` { "a" : null , "b":true,"c":-1.5e3 } `,
		`{"a":"x","a":"y"}`, `{}`, `}`, `{"a":1}}`, `{"a":1,}`, `{"a":01}`, `{"a":"\u0041"}`, `{"a":{"b":1}}`, `{"a":[1,2]}`, `{"a":tru}`, `{"a":"1}`,
		`{"a":1 "b":2}`, `{"":""}`, "{\"a\":\"\t\"}", `{"a":"电"}`, `{"a"::1}`, `{"a":}`, `{,}`, `[{"a":1}]`, `{"a":1} x`, ``,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		members, flat := flatMembers(text)
		if !flat {
			return
		}
		want, err := decodedMembers(text)
		if err != nil || !slices.Equal(members, want) {
			t.Errorf("%q: %v, want %v, %v", text, members, want, err)
		}
	})
}

// Rows as billing systems write them need no decoder.
func TestFlatMembers(t *testing.T) {
	for _, text := range []string{
		`{"out_order_no":"BIKE-1"}`, `{"out_order_no": "BIKE-1", "amount": 1250, "at": null}`, `{"out_order_no":"A","at":"2026-01-02 10:00"}`,
	} {
		if _, flat := flatMembers(text); !flat {
			t.Errorf("%s takes the decoder", text)
		}
	}
}
