package az

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"lapis/cli/cloud"
)

func restCommand() command {
	return command{name: "rest", help: "Invoke a custom request.", run: rest,
		example: "az rest --method get --url /subscriptions/{subscriptionId}/resourceGroups?api-version=2021-04-01",
		args: []arg{
			{names: "--url --uri -u", help: "Request URL; a path goes to the resource manager. {subscriptionId} is filled in.", required: true},
			{names: "--method -m", help: "HTTP request method.", value: "get", choices: []string{"delete", "get", "head", "options", "patch", "post", "put"}},
			{names: "--body -b", help: "Request body, or @file."},
			{names: "--headers", help: "Headers as key=value.", kind: many},
			{names: "--uri-parameters --url-parameters", help: "Query parameters as key=value.", kind: many},
			{names: "--resource", help: "Resource for which the token is."},
			{names: "--skip-authorization-header", help: "Send no token.", kind: flag},
			{names: "--output-file", help: "Save the answer's body."},
		}}
}

func rest(ctx context.Context, c *Call) (any, error) {
	s, err := c.Session()
	if err != nil {
		return nil, err
	}
	target, err := c.restURL(ctx, s)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Accept": {"application/json"}}
	body, err := c.restBody(header)
	if err != nil {
		return nil, err
	}
	for _, pair := range c.list("headers") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usage("argument --headers: %q is not of the form key=value", pair)
		}
		header.Set(name, value)
	}
	if resource := c.restAudience(s, target); resource != "" && !c.on("skip-authorization-header") && header.Get("Authorization") == "" {
		token, err := s.Token(ctx, resource)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token.Access)
	}
	answer, err := s.Do(ctx, strings.ToUpper(c.str("method")), target, header, body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 400 {
		return nil, cloud.FailureOf(answer.Response, answer.Data)
	}
	if name := c.str("output-file"); name != "" {
		return nil, os.WriteFile(name, answer.Data, 0o644)
	}
	var tree any
	if len(answer.Data) > 0 && json.Unmarshal(answer.Data, &tree) != nil {
		_, err := c.Stdout.Write(answer.Data)
		return nil, err
	}
	return tree, nil
}

func (c *Call) restURL(ctx context.Context, s *cloud.Session) (string, error) {
	target := c.str("url")
	if strings.Contains(target, "{subscriptionId}") {
		sub, err := c.subscription(ctx)
		if err != nil {
			return "", err
		}
		target = strings.ReplaceAll(target, "{subscriptionId}", sub)
	}
	if !strings.Contains(target, "://") {
		target = s.ARM + "/" + strings.TrimPrefix(target, "/")
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", usage("argument --url: %v", err)
	}
	query := u.Query()
	for _, pair := range c.list("uri-parameters") {
		name, value, _ := strings.Cut(pair, "=")
		query.Add(name, value)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

func (c *Call) restBody(header http.Header) ([]byte, error) {
	text := c.str("body")
	if text == "" {
		return nil, nil
	}
	body := []byte(text)
	if name, ok := strings.CutPrefix(text, "@"); ok {
		var err error
		if body, err = os.ReadFile(name); err != nil {
			return nil, fmt.Errorf("argument --body: %v", err)
		}
	}
	if json.Valid(body) {
		header.Set("Content-Type", "application/json")
	}
	return body, nil
}

// restAudience is the resource of a URL's token; an unknown host gets none.
func (c *Call) restAudience(s *cloud.Session, target string) string {
	if resource := c.str("resource"); resource != "" {
		return resource
	}
	for _, known := range []struct{ base, audience string }{{s.ARM, cloud.AudienceARM}, {s.Graph, cloud.AudienceGraph}} {
		if target == known.base || strings.HasPrefix(target, known.base+"/") {
			return known.audience
		}
	}
	return ""
}
