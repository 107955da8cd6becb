package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// object is a JSON object.
type object = map[string]any

const versionML = "2023-04-01-preview"

func (p *platform) workspace() string {
	return "https://management.azure.com/subscriptions/" + p.info.SubscriptionID + "/resourceGroups/" + p.info.ResourceGroup +
		"/providers/Microsoft.MachineLearningServices/workspaces/" + p.info.Workspace
}

// owner asks Resource Manager as who started the platform, without the command
// line between.
type owner struct {
	*platform
	bearer string
}

func (p *platform) asOwner() (owner, error) {
	bearer, err := p.token(audienceARM)
	return owner{p, bearer}, err
}

// ask sends a request and reads the answer into result, if that is not nil.
// It returns the answer's header, and an error if the status is 400 or above.
func (o owner) ask(ctx context.Context, method, address string, body, result any) (http.Header, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	if !strings.Contains(address, "api-version=") {
		address += "?api-version=" + versionML
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+o.bearer)
	req.Header.Set("Content-Type", "application/json")
	resp, err := o.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, req.URL.Path, resp.Status, text)
	}
	if err == nil && result != nil {
		err = json.Unmarshal(text, result)
	}
	return resp.Header, err
}

// poll is how often an operation is asked after.
const poll = 5 * time.Millisecond

// change sends a request and follows its operation to the end.
func (o owner) change(ctx context.Context, method, address string, body any) error {
	header, err := o.ask(ctx, method, address, body, nil)
	if err != nil {
		return err
	}
	follow := header.Get("Azure-AsyncOperation")
	if follow == "" {
		return nil
	}
	for {
		var state struct {
			Status string
			Error  json.RawMessage
		}
		if _, err := o.ask(ctx, http.MethodGet, follow, nil, &state); err != nil {
			return err
		}
		switch state.Status {
		case "Succeeded":
			return nil
		case "Failed", "Canceled":
			return fmt.Errorf("%s %s: %s %s", method, address, state.Status, state.Error)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), fmt.Errorf("%s %s: still %s", method, address, state.Status))
		}
	}
}

// key is an endpoint's first one.
func (o owner) key(ctx context.Context, endpoint string) (string, error) {
	var keys struct{ PrimaryKey string }
	_, err := o.ask(ctx, http.MethodPost, o.workspace()+"/onlineEndpoints/"+endpoint+"/listKeys", nil, &keys)
	return keys.PrimaryKey, err
}

// scorer gives a call of an endpoint's script that wants status 200.
func (o owner) scorer(ctx context.Context, endpoint string) (func() error, error) {
	key, err := o.key(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	header := map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
	address := "https://" + endpoint + "." + o.info.Location + ".inference.ml.azure.com/score"
	return func() error {
		return call(o.http, http.MethodPost, address, header, []byte(scoreBody), http.StatusOK, nil)
	}, nil
}
