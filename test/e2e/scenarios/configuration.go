package scenarios

func configuration() []Scenario { return nil }
