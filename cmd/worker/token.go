package main

import (
	"fmt"

	"payscore-collector/internal/config"
)

// tokenCommand makes a token.
type tokenCommand struct {
	Name   string      `arg:"" help:"Who will use it, as logs and the history of orders show it."`
	Role   config.Role `required:"" enum:"viewer,billing,operator" placeholder:"ROLE" help:"viewer reads; billing also enqueues, withdraws and reopens; operator also does everything else."`
	MchIDs []string    `name:"mchid" placeholder:"NUMBER" help:"Only for this merchant; several times for several (default: all)."`
}

// run prints the token on the first line, and on the second one what belongs into
// API_TOKENS_FILE, which does not have the token itself.
func (c tokenCommand) run(p config.Process) int {
	token, item, err := config.NewAPIToken(c.Name, c.Role, c.MchIDs)
	if err != nil {
		p.Complain(err)
		return config.ExitUsage
	}
	fmt.Fprintf(p.Stdout, "%s\n%s\n", token, item)
	p.Say("the first line is the token, which is not stored anywhere: give it to " + c.Name + "; add the second line to API_TOKENS_FILE")
	return config.ExitOK
}
