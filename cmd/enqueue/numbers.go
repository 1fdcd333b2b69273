package main

import (
	"slices"

	"github.com/alecthomas/kong"
)

// numbers are the order numbers of a command line.
type numbers []string

// Decode takes the arguments up to the next flag, and all behind "--". Kong by itself
// refuses the latter where other numbers or flags come before them.
func (n *numbers) Decode(ctx *kong.DecodeContext) error {
	take := func(tokens []kong.Token) {
		for _, t := range tokens {
			*n = append(*n, t.String())
		}
	}
	take(ctx.Scan.PopWhile(kong.Token.IsValue))
	flags := ctx.Scan.PopUntil(func(t kong.Token) bool { return t.IsEOL() || t.Type == kong.UntypedToken && t.Value == "--" })
	ctx.Scan.Pop()
	take(ctx.Scan.PopUntil(kong.Token.IsEOL))
	for _, t := range slices.Backward(flags) { // they are for kong
		ctx.Scan.PushToken(t)
	}
	return nil
}
