package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"payscore-collector/internal/config"
)

// Document returns the OpenAPI document, for tests.
func (a *API) Document() *huma.OpenAPI { return a.huma.OpenAPI() }

// RefusedTime is for how long a refused body is read on.
const RefusedTime = refusedTime

// RowsKept returns how many rows of the orders of a body are kept in memory.
func RowsKept(orders string) (int, error) {
	var r rows
	err := json.Unmarshal([]byte(orders), &r)
	return cap(r), err
}

// ServeDeadline adds a path that answers with the seconds that a GET has for its work.
func (a *API) ServeDeadline(path string) {
	type reply struct{ Body float64 }
	add(a, op{id: "deadline", method: http.MethodGet, path: path, role: config.Viewer}, func(ctx context.Context, _ *struct{}) (*reply, error) {
		deadline, _ := ctx.Deadline()
		return &reply{time.Until(deadline).Seconds()}, nil
	})
}
