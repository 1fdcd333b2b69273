package config

import (
	"os"
	"os/user"
	"strconv"
)

// By is who runs this command, as the trail of changes names it: cli: and the user's name,
// or the user's number where the system has no name for it, as in a container.
func By() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli:" + strconv.Itoa(os.Getuid())
}
