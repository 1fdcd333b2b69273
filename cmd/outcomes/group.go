package main

import (
	"regexp"

	"payscore-collector/internal/config"
)

// groupForm is what a consumer group may be called: anything that can be typed
// into redis-cli without quotes.
var groupForm = regexp.MustCompile(`^[0-9A-Za-z_.:-]{1,64}$`)

// Groups that belong to one kind of reader. An event is given to one member of a
// group: a reader of another kind in it would take events away for good.
const (
	followGroup   = "follow"
	postgresGroup = "postgres"
	webhooksGroup = "webhooks" // the worker's, though it is no group of Redis's
)

// judgeGroup reports what is wrong with the name of a group for a reader whose
// own group is own.
func judgeGroup(c *config.Collector, group, own string) {
	if !groupForm.MatchString(group) {
		c.Problem("--group", "is %q: write 1 to 64 characters of 0-9 A-Z a-z _ . : -", group)
		return
	}
	for _, taken := range []string{followGroup, postgresGroup, webhooksGroup} {
		if group == taken && group != own {
			c.Problem("--group", "is %s, which belongs to another reader: events that it is given would be lost to that one; use a name of your own", group)
		}
	}
}
