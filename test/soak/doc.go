// Package soak has the tests of everything at once, as a merchant runs it: some thousand
// orders, real programs, and a platform whose truth all numbers are held against, while
// programs are killed, or while a month passes.
package soak
