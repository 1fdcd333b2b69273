package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestRead(t *testing.T) {
	stamped := &debug.BuildInfo{
		Main: debug.Module{Version: "v0.2.0"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0b883cd"}, {Key: "vcs.time", Value: "2026-11-26T20:00:00Z"}, {Key: "vcs.modified", Value: "true"},
		},
	}
	for _, tc := range []struct {
		name              string
		build             *debug.BuildInfo
		version, revision string // as the linker sets them
		want              string
	}{
		{"a build in a checkout", stamped, "", "", "version v0.2.0, revision 0b883cd, modified, of 2026-11-26T20:00:00Z, built with " + runtime.Version()},
		{"go run, or -buildvcs=false", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "", "", "version unknown, revision unknown, of unknown, built with " + runtime.Version()},
		{"an image's, told by the linker", &debug.BuildInfo{}, "v0.2.1", "49c297e", "version v0.2.1, revision 49c297e, of unknown, built with " + runtime.Version()},
		{"no information at all", nil, "", "", "version unknown, revision unknown, of unknown, built with " + runtime.Version()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			version, revision = tc.version, tc.revision
			t.Cleanup(func() { version, revision = "", "" })
			if got := read(tc.build).String(); got != tc.want {
				t.Errorf("it is %q, want %q", got, tc.want)
			}
		})
	}
}
