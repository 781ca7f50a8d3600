{
  # `npx node-gyp rebuild` runs the CMake build. The list of sources is CMakeLists.txt's; this file names none.
  "targets": [
    {
      "target_name": "anneal",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          # An output that is never made: the action runs each time, and CMake decides what is stale.
          "outputs": ["build/always-run-cmake"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
