"""OpenAI's and Together AI's fine-tuning, through their own SDKs: jobs that survive a restart, models to ask.

`tuning.tune` is the story of a job; `openai.py` and `together.py` hold what differs between the two.
"""
