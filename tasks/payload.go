package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"payscore-collector/internal/owner"
)

// MaxOutOrderNo is the longest out_order_no WeChat Pay takes, in characters
// (WeChat Pay docs, merchant/4013394596).
const MaxOutOrderNo = 32

// Payload names one PayScore order: it is the body of a TypeCollect task. The
// JSON names are WeChat Pay's own and are part of the interface.
type Payload struct {
	MchID      string `json:"mchid"`
	OutOrderNo string `json:"out_order_no"`
	AppID      string `json:"appid"`
	ServiceID  string `json:"service_id"`
	// Schedule is the schedule of the workers' SCHEDULES_FILE by which the order is
	// collected; empty: the file's default for it, or else the workers' settings. It may
	// be in another client's task too.
	Schedule string `json:"schedule,omitempty"`
}

// Owner says whose an order is.
type Owner = owner.Owner

// Owner returns whose the order is.
func (p Payload) Owner() Owner {
	return Owner{MchID: p.MchID, AppID: p.AppID, ServiceID: p.ServiceID}
}

// FieldError is one field of a Payload that cannot be right, with a sentence
// that says what is wrong and what would be accepted.
type FieldError struct {
	Field   string // JSON name, such as out_order_no
	Problem string
}

func (e *FieldError) Error() string { return e.Field + " " + e.Problem }

// Validate reports everything that is wrong with p, joined into one error of
// FieldErrors, or nil. It asks only what can be known without asking WeChat
// Pay: presence, length and characters.
func (p Payload) Validate() error {
	return errors.Join(
		ValidateMchID(p.MchID),
		ValidateOutOrderNo(p.OutOrderNo),
		validateID("appid", p.AppID),
		validateID("service_id", p.ServiceID),
		validateSchedule(p.Schedule),
	)
}

// ValidateOutOrderNo checks an order number alone: 1 to 32 characters out of
// digits, letters and _ | * -.
func ValidateOutOrderNo(no string) error {
	const field = "out_order_no"
	if no == "" {
		return &FieldError{field, "is missing"}
	}
	// Characters before length: a number with a stray space or a BOM is the
	// commoner accident, and its length would only mislead.
	for i, r := range no {
		if !orderNoChar(r) {
			return &FieldError{field, fmt.Sprintf("has %q at position %d; only digits, letters and _ | * - are allowed", r, i+1)}
		}
	}
	if len(no) > MaxOutOrderNo {
		return &FieldError{field, fmt.Sprintf("is %d characters long; at most %d are allowed", len(no), MaxOutOrderNo)}
	}
	return nil
}

func orderNoChar(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' ||
		strings.ContainsRune("_|*-", r)
}

// ValidateMchID checks a merchant number: 1 to 32 digits. Every key of the
// ledger and every queue carries it, so nothing else may get in.
func ValidateMchID(mchid string) error {
	const field = "mchid"
	if mchid == "" {
		return &FieldError{field, "is missing; name it, or set WECHATPAY_MCHID"}
	}
	if len(mchid) > 32 {
		return &FieldError{field, fmt.Sprintf("is %d characters long; at most 32 digits are allowed", len(mchid))}
	}
	for i, r := range mchid {
		if r < '0' || r > '9' {
			return &FieldError{field, fmt.Sprintf("has %q at position %d; only digits are allowed", r, i+1)}
		}
	}
	return nil
}

// validateID checks an appid or a service_id: 1 to 32 characters out of
// digits, letters, _ and -.
func validateID(field, id string) error {
	if id == "" {
		return &FieldError{field, "is missing; name it, or set PAYSCORE_" + strings.ToUpper(field)}
	}
	if len(id) > 32 {
		return &FieldError{field, fmt.Sprintf("is %d characters long; at most 32 are allowed", len(id))}
	}
	for i, r := range id {
		if !orderNoChar(r) || r == '|' || r == '*' {
			return &FieldError{field, fmt.Sprintf("has %q at position %d; only digits, letters, _ and - are allowed", r, i+1)}
		}
	}
	return nil
}

// validateSchedule checks the form of a name. Whether there is such a schedule, only the
// workers' file says.
func validateSchedule(name string) error {
	const field = "schedule"
	if len(name) > 32 {
		return &FieldError{field, fmt.Sprintf("is %d characters long; at most 32 are allowed", len(name))}
	}
	for i, r := range name {
		if r != '.' && (!orderNoChar(r) || r == '|' || r == '*') {
			return &FieldError{field, fmt.Sprintf("has %q at position %d; only digits, letters, _ - and . are allowed", r, i+1)}
		}
	}
	return nil
}

// Encode returns p as the body of a task.
func (p Payload) Encode() ([]byte, error) { return json.Marshal(p) }

// DecodePayload reads the body of a task. Fields it does not know are let
// through, so that an older worker can serve a newer producer; a body that is
// not one JSON object is an error. The result is not validated.
func DecodePayload(body []byte) (Payload, error) {
	var p Payload
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&p); err != nil {
		return Payload{}, fmt.Errorf("the task's payload is not the JSON object {\"mchid\",\"out_order_no\",\"appid\",\"service_id\"}: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Payload{}, errors.New("the task's payload has more behind its JSON object")
	}
	return p, nil
}
