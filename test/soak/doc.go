// Package soak has one test: the whole of it at once, as a merchant runs it, for
// half a minute and some thousand orders, while its parts are killed.
package soak
