package kube

import "context"

// lead runs the leader's workers while this agent leads.
func (s *Source) lead(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
