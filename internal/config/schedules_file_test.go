package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const goodSchedules = `
schedules:
  gentle:
    collect_schedule: 24h,72h
    window: 10:00-20:00
    min_gap: 12h
    give_up_after: 1440h
  small: {collect_schedule: 72h, min_gap: 0}
defaults:
  - {service_id: "500002", schedule: gentle}
  - mchid: "1900000001"
    amount_at_least: 100
    amount_below: 500
    schedule: small
`

func loadSchedules(t *testing.T, text string) (Worker, error) {
	t.Helper()
	path := writeFile(t, t.TempDir(), "schedules.yaml", []byte(text))
	return loadWorker(t, merged(goodEnv(t), map[string]string{"SCHEDULES_FILE": path, "MIN_GAP": "7m"}))
}

func TestSchedulesFile(t *testing.T) {
	want := Schedules{
		Named: map[string]Terms{
			"gentle": {
				CollectSchedule: Schedule{24 * time.Hour, 72 * time.Hour}, Window: new(Window{From: 10 * time.Hour, To: 20 * time.Hour}),
				MinGap: new(12 * time.Hour), GiveUpAfter: new(1440 * time.Hour),
			},
			"small": {CollectSchedule: Schedule{72 * time.Hour}, MinGap: new(time.Duration(0))},
		},
		Defaults: []ScheduleDefault{
			{ServiceID: "500002", Schedule: "gentle"},
			{MchID: "1900000001", AtLeast: 100, Below: 500, Schedule: "small"},
		},
	}
	for name, text := range map[string]string{
		"below a key": goodSchedules,
		"at the top":  strings.ReplaceAll(strings.Replace(goodSchedules, "schedules:\n", "", 1), "\n  ", "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "at the top" { // only the schedules move to the left
				text = "gentle:\n  collect_schedule: 24h,72h\n  window: 10:00-20:00\n  min_gap: 12h\n  give_up_after: 1440h\n" +
					"small: {collect_schedule: 72h, min_gap: 0}\n" + goodSchedules[strings.Index(goodSchedules, "defaults:"):]
			}
			w, err := loadSchedules(t, text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, w.Schedules, cmpopts.IgnoreUnexported(Schedules{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if shown := (Setting{"SCHEDULES_FILE", "gentle, small"}); !slices.Contains(w.Settings(), shown) {
				t.Errorf("%v is not among the settings: %v", shown, w.Settings())
			}
			got := w.Schedules.Named["small"].In(w.Work)
			if got.MinGap != 0 || got.GiveUpAfter != w.GiveUpAfter || got.Window != w.Window || got.CollectSchedule.String() != "72h0m0s" {
				t.Errorf("small is %+v; what it leaves out is as the settings say", got)
			}
			if got := w.Schedules.Named["gentle"].In(w.Work); got.MinGap != 12*time.Hour || got.Window.String() != "10:00-20:00" || got.GiveUpAfter != 1440*time.Hour {
				t.Errorf("gentle is %+v", got)
			}
		})
	}

	t.Run("everything that is wrong is reported at once, with its line", func(t *testing.T) {
		_, err := loadSchedules(t, `schedules:
  gentle:
    collect_schedule: 10m,never
    window: 25:00-26:00
    min_gap: 1
    give_up_after: 0s
    retries: 3
  "a b": {min_gap: 1h}
  empty:
  list:
    min_gap: [1h]
  twice:
    min_gap: 1h
    min_gap: 2h
  gentle: {min_gap: 1h}
defaults:
  - {schedule: unheard-of}
  - {service_id: "500 002", schedule: gentle}
  - {amount_at_least: 500, amount_below: 500, schedule: gentle}
  - {amount_below: 1.50, schedule: gentle}
  - {service_id: "500002"}
  - {shop: "1", schedule: gentle}
  - gentle
`)
		for _, want := range []string{
			`line 3: collect_schedule of schedule gentle has "never" in it: write durations from 1ms to 87600h`,
			`line 4: window of schedule gentle has "25:00" instead of a time of day`,
			`line 5: min_gap of schedule gentle is "1", which is not a duration`,
			`line 6: give_up_after of schedule gentle is 0s: write a duration of at least 1ms`,
			`line 7: schedule gentle has "retries", which is unknown: write collect_schedule, window, min_gap, give_up_after`,
			`line 8: a schedule is named "a b"`,
			`line 9: schedule empty says nothing: write at least one of`,
			`line 11: min_gap of schedule list is a list or a mapping`,
			`line 14: schedule twice has "min_gap" twice, first on line 13`,
			`line 15: schedules has "gentle" twice, first on line 2`,
			`line 17: schedule of a default is "unheard-of", which the file does not have`,
			`line 18: service_id of a default is "500 002"`,
			`line 19: a default fits no order: amount_at_least is 500, and amount_below is 500`,
			`line 20: amount_below of a default is "1.50": write a whole number of fen`,
			`line 21: a default names no schedule`,
			`line 22: shop of a default is unknown: write mchid, service_id, amount_at_least, amount_below, schedule`,
			`line 23: a default is not a mapping`,
		} {
			wantIn(t, err, want)
		}
		if err != nil && strings.Count(err.Error(), "\n") != 16 {
			t.Errorf("not one line for each problem:\n%v", err)
		}
	})
	for name, c := range map[string]struct{ text, want string }{
		"an empty file":       {"# later\n", "has no schedules"},
		"a list":              {"- gentle\n", "has no schedules"},
		"no YAML":             {"schedules: {\n", "is not valid YAML"},
		"two documents":       {goodSchedules + "---\na: {min_gap: 1h}\n", "more than one YAML document"},
		"too many schedules":  {"schedules:\n" + manySchedules(101), "has 101 schedules: at most 100"},
		"schedules in a list": {"schedules:\n  - gentle\n", "schedule schedules says nothing"},
		"defaults in no list": {goodSchedules[:strings.Index(goodSchedules, "defaults:")] + "defaults: gentle\n", "defaults is not a list"},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			_, err := loadSchedules(t, c.text)
			wantIn(t, err, c.want)
		})
	}
	t.Run("refuses a file that is not there", func(t *testing.T) {
		_, err := loadWorker(t, merged(goodEnv(t), map[string]string{"SCHEDULES_FILE": "/nowhere/s.yaml"}))
		wantIn(t, err, `SCHEDULES_FILE names "/nowhere/s.yaml", which does not exist`)
	})
}

func manySchedules(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {min_gap: 1h}\n", i)
	}
	return b.String()
}

func TestSchedulesCheck(t *testing.T) {
	w, err := loadSchedules(t, goodSchedules)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "gentle", "small"} {
		if err := w.Schedules.Check(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := w.Schedules.Check("gone"); err == nil || err.Error() != `"gone" is not a schedule: SCHEDULES_FILE has gentle, small` {
		t.Errorf("%v", err)
	}
	if err := (Schedules{}).Check("gone"); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func wantIn(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the problems lack %q:\n%v", want, err)
	}
}

func TestSchedulesFile_ReadAgain(t *testing.T) {
	path := writeFile(t, t.TempDir(), "schedules.yaml", []byte(goodSchedules))
	w, err := loadWorker(t, merged(goodEnv(t), map[string]string{"SCHEDULES_FILE": path}))
	if err != nil {
		t.Fatal(err)
	}
	state := w.SchedulesFile.State()
	if w.SchedulesFile.State() != state {
		t.Error("the state changes by itself")
	}
	writeFile(t, filepath.Dir(path), "schedules.yaml", []byte("other: {min_gap: 1h}\n"))
	if w.SchedulesFile.State() == state {
		t.Error("the state does not show the change")
	}
	if s, err := w.SchedulesFile.Load(); err != nil || !slices.Equal(s.Names(), []string{"other"}) || s.Check("gentle") == nil {
		t.Errorf("%v %v", s.Names(), err)
	}
	writeFile(t, filepath.Dir(path), "schedules.yaml", []byte("other: {min_gap: never}\n"))
	_, err = w.SchedulesFile.Load()
	wantIn(t, err, "line 1: min_gap of schedule other")
	if w, err := loadWorker(t, goodEnv(t)); err != nil || w.SchedulesFile != nil {
		t.Errorf("without a file: %v %v", w.SchedulesFile, err)
	}
}
