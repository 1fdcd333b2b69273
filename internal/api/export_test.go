package api

import "github.com/danielgtaylor/huma/v2"

// Document returns the OpenAPI document, for tests.
func (a *API) Document() *huma.OpenAPI { return a.huma.OpenAPI() }
