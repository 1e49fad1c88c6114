"""The executors that run attempts: the port that propeller calls, and its implementations."""
