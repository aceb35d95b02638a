"""What a stage is: declaration, graph, context, resources and result. No torch, no event loop."""
