// Package version reports which build a program is, from what the Go toolchain or the
// linker wrote into it.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Unknown stands for what a build does not record.
const Unknown = "unknown"

// Builds without Git, such as an image's, set these with the linker:
//
//	-ldflags "-X payscore-collector/internal/version.version=v1.2.3
//	          -X payscore-collector/internal/version.revision=$(git rev-parse HEAD)"
var version, revision string

// Info is what is known of a build; nothing in it is empty.
type Info struct {
	Version  string // of the module, v1.2.3, or Unknown
	Revision string // the commit, in hexadecimal, or Unknown
	Time     string // of the commit, RFC 3339, or Unknown
	Modified bool   // the sources differed from the commit
	Go       string // the toolchain, go1.26.0
}

// Read returns what this program records of its build. What go run and -buildvcs=false
// leave out is Unknown.
func Read() Info {
	build, _ := debug.ReadBuildInfo()
	return read(build)
}

func read(build *debug.BuildInfo) Info {
	i := Info{Version: version, Revision: revision, Go: runtime.Version()}
	if build != nil {
		if v := build.Main.Version; i.Version == "" && v != "(devel)" {
			i.Version = v
		}
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				if i.Revision == "" {
					i.Revision = s.Value
				}
			case "vcs.time":
				i.Time = s.Value
			case "vcs.modified":
				i.Modified = s.Value == "true"
			}
		}
	}
	for _, field := range []*string{&i.Version, &i.Revision, &i.Time} {
		if *field == "" {
			*field = Unknown
		}
	}
	return i
}

// String is one line for people.
func (i Info) String() string {
	modified := ""
	if i.Modified {
		modified = ", modified"
	}
	return fmt.Sprintf("version %s, revision %s%s, of %s, built with %s", i.Version, i.Revision, modified, i.Time, i.Go)
}
