package books_test

import (
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"payscore-collector/internal/books"
	"payscore-collector/internal/testkit"
)

func TestFen(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "0.00": 0, "0.01": 1, "0.1": 10, "1": 100, "12.34": 1234, "-3.00": -300, "007.50": 750,
		"0.29": 29, "1.10": 110, "4.35": 435, "1129.6": 112960, "19.99": 1999, // where floats are a fen off
		"999999999999.99": 99999999999999, "5.12000": 512,
	} {
		if got, ok := books.Fen(s); got != want || !ok {
			t.Errorf("%s yuan is %d fen, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", ".", "1.", ".5", "1.005", "1,000.00", "1e3", "+1", "--1", "¥1", " 1", "1 ", "１", "1000000000000", "0.0000000", "1.2.3", "0x1"} {
		if got, ok := books.Fen(s); ok {
			t.Errorf("%q is taken for %d fen", s, got)
		}
	}
}

// Every amount of fen is read back from its yuan, in each way to write them, and exact
// arithmetic agrees on any number.
func TestFen_Property(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 11))
	for range testkit.Form(20_000, 100_000) {
		fen := r.Int64N(1 << (1 + r.IntN(46)))
		written := new(big.Rat).SetFrac64(fen, 100).FloatString(2 + r.IntN(4))
		switch sign := r.IntN(4); {
		case sign == 0 && fen > 0:
			fen, written = -fen, "-"+written
		case sign == 1:
			written = strings.TrimSuffix(strings.TrimRight(written, "0"), ".")
		}
		if got, ok := books.Fen(written); got != fen || !ok {
			t.Fatalf("%s yuan is %d fen, %v; want %d", written, got, ok, fen)
		}
	}
	for range testkit.Form(20_000, 100_000) {
		s := new(big.Rat).SetFrac64(r.Int64N(1<<40)-1<<39, 1_000_000).FloatString(r.IntN(7))
		exact, _ := new(big.Rat).SetString(s)
		exact.Mul(exact, big.NewRat(100, 1))
		got, ok := books.Fen(s)
		if ok != exact.IsInt() || ok && exact.Num().Int64() != got {
			t.Fatalf("%s yuan is %d fen, %v; exactly %s", s, got, ok, exact)
		}
	}
}
