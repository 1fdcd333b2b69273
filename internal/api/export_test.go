package api

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// Document returns the OpenAPI document, for tests.
func (a *API) Document() *huma.OpenAPI { return a.huma.OpenAPI() }

// RowsKept returns how many rows of the orders of a body are kept in memory.
func RowsKept(orders string) (int, error) {
	var r rows
	err := json.Unmarshal([]byte(orders), &r)
	return cap(r), err
}
